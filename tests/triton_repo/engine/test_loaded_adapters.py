"""Adapters that come and go while an engine serves: it has those that its shelf lists, and no request is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from tests.triton_repo.engine.loop.running_loop import WAIT_S, engine_loop, eventually, request
from tests.triton_repo.engines_under_test import RecordingSink, ScriptedRuntime, engine_config
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, InvalidRequest
from triton_repo.contract.health.adapter_shelf import ADAPTERS_VARIABLE, AdapterShelf, Shelved, ShelvedAdapter
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.adapters import Adapters
from triton_repo.engine.loop.loop import EngineLoop
from triton_repo.engine.runtimes.runtime import Generation, TokenDelta


class Adapting(ScriptedRuntime):
    """Opens what lies in a directory that is there; `may_open` holds it up."""

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[str, Path] = {}
        self.may_open = Event()
        self.may_open.set()
        self.may_close = True

    def submit(self, generation: Generation) -> None:
        super().submit(generation)
        if generation.sampling.lora_name not in (None, *self.open):
            raise EngineUnavailable("the adapter was unloaded")

    def open_adapter(self, name: str, directory: Path) -> Callable[[], None]:
        assert self.may_open.wait(WAIT_S)
        if not directory.is_dir():
            raise EngineFailed(f"the engine cannot open the adapter {name}")
        return lambda: self.open.update({name: directory})

    def close_adapter(self, name: str) -> None:
        if not self.may_close:
            raise RuntimeError("the library fails")
        del self.open[name]


@pytest.fixture
def runtime() -> Adapting:
    return Adapting()


@pytest.fixture
def shelf(tmp_path: Path) -> AdapterShelf:
    shelf = AdapterShelf.of(tmp_path, "demo")
    for number in (1, 2):
        shelf.directory(number).mkdir(parents=True)
    return shelf


@pytest.fixture
def adapters(runtime: Adapting, shelf: AdapterShelf) -> Iterator[Adapters]:
    adapters = Adapters(engine_config(), runtime, {ADAPTERS_VARIABLE: str(shelf.path.parent)})
    yield adapters
    adapters.close()


@pytest.fixture
def loop(runtime: Adapting, adapters: Adapters) -> Iterator[EngineLoop]:
    with engine_loop(runtime) as loop:
        yield loop


def french(number: int, *, is_new: bool = False, grace_s: float = WAIT_S) -> Shelved:
    return Shelved({"french": ShelvedAdapter(number, is_new)}, grace_s)


def refreshed(adapters: Adapters, loop: EngineLoop) -> RecordingSink:
    sink = RecordingSink()
    adapters.refresh("order", sink, loop)
    return sink


def carried_out(adapters: Adapters, loop: EngineLoop) -> None:
    sink = refreshed(adapters, loop)
    eventually(lambda: sink.ends == 1)
    assert not sink.errors


def named(adapters: Adapters) -> tuple[str, ...]:
    """Those that a request may name."""
    return adapters.config.card.adapters


def ask_in_french(loop: EngineLoop, runtime: Adapting) -> RecordingSink:
    sink, number = RecordingSink(), len(runtime.submitted)
    asked = request()
    asked = type(asked)(asked.input_ids, asked.max_tokens, asked.end_ids, Sampling(lora_name="french"), (), True)
    loop.submit(f"in-french-{number}", asked, sink)
    eventually(lambda: len(runtime.submitted) > number)
    return sink


def test_an_adapter_may_be_named_once_it_is_open(
    runtime: Adapting, shelf: AdapterShelf, adapters: Adapters, loop: EngineLoop
) -> None:
    runtime.may_open.clear()
    shelf.write(french(1, is_new=True))
    sink = refreshed(adapters, loop)
    assert named(adapters) == ()
    runtime.may_open.set()
    eventually(lambda: sink.ends == 1)
    assert (named(adapters), runtime.open) == (("french",), {"french": shelf.directory(1)})


def test_requests_end_before_their_adapter_goes(
    runtime: Adapting, shelf: AdapterShelf, adapters: Adapters, loop: EngineLoop
) -> None:
    shelf.write(french(1))
    carried_out(adapters, loop)
    asked = ask_in_french(loop, runtime)
    shelf.write(Shelved(grace_s=WAIT_S))
    order = refreshed(adapters, loop)
    eventually(lambda: named(adapters) == ())
    assert runtime.open
    assert order.ends == 0
    runtime.steps.append([TokenDelta(runtime.submitted[0].key, (7,), "stop")])
    loop.stop("no one: it wakes the loop")
    eventually(lambda: order.ends == 1)
    assert (asked.errors, runtime.open) == ([], {})
    assert asked.messages


def test_what_has_not_ended_within_the_grace_fails_alone(
    runtime: Adapting, shelf: AdapterShelf, adapters: Adapters, loop: EngineLoop
) -> None:
    shelf.write(french(1))
    carried_out(adapters, loop)
    asked, other = ask_in_french(loop, runtime), RecordingSink()
    loop.submit("without", request(), other)
    eventually(lambda: len(runtime.submitted) == 2)
    shelf.write(Shelved())
    carried_out(adapters, loop)
    assert [str(error) for error in asked.errors] == ["the adapter french was unloaded"]
    assert isinstance(asked.errors[0], EngineUnavailable)
    assert (other.ends, runtime.cancelled) == (0, [runtime.submitted[0].key])


def test_another_adapter_takes_the_name_once_the_requests_of_the_first_have_ended(
    runtime: Adapting, shelf: AdapterShelf, adapters: Adapters, loop: EngineLoop
) -> None:
    shelf.write(french(1))
    carried_out(adapters, loop)
    asked = ask_in_french(loop, runtime)
    shelf.write(french(2, is_new=True))
    order = refreshed(adapters, loop)

    def is_being_replaced() -> bool:
        try:
            adapters.check("french")
        except EngineUnavailable:
            return True
        return False

    eventually(is_being_replaced)
    assert named(adapters) == ("french",)
    loop.stop("in-french-0")
    eventually(lambda: order.ends == 1)
    assert (asked.errors, runtime.open) == ([], {"french": shelf.directory(2)})
    assert not is_being_replaced()


def test_one_that_cannot_be_opened_is_an_error_of_its_order_and_leaves_the_others(
    runtime: Adapting, shelf: AdapterShelf, adapters: Adapters, loop: EngineLoop
) -> None:
    shelf.write(french(1))
    carried_out(adapters, loop)
    shelf.write(Shelved({**french(1).adapters, "broken": ShelvedAdapter(9, is_new=True)}))
    order = refreshed(adapters, loop)
    eventually(lambda: order.ends == 1)
    assert [str(error) for error in order.errors] == ["the engine cannot open the adapter broken"]
    assert (named(adapters), list(runtime.open)) == (("french",), ["french"])


def test_a_request_that_comes_when_its_adapter_has_gone_may_be_tried_again(
    runtime: Adapting, adapters: Adapters, loop: EngineLoop
) -> None:
    assert named(adapters) == ()
    asked = ask_in_french(loop, runtime)
    eventually(lambda: bool(asked.errors))
    assert [error.status for error in asked.errors] == [503]


def test_an_order_that_fails_in_the_library_ends_with_an_error_and_the_next_is_carried_out(
    runtime: Adapting, shelf: AdapterShelf, adapters: Adapters, loop: EngineLoop
) -> None:
    shelf.write(french(1))
    carried_out(adapters, loop)
    shelf.write(Shelved())
    runtime.may_close = False
    order = refreshed(adapters, loop)
    eventually(lambda: order.ends == 1)
    assert [str(error) for error in order.errors] == ["the engine failed"]
    runtime.may_close = True
    carried_out(adapters, loop)
    assert runtime.open == {}


def test_one_that_can_no_longer_be_opened_keeps_no_other_from_being_loaded(
    runtime: Adapting, shelf: AdapterShelf, adapters: Adapters, loop: EngineLoop
) -> None:
    shelf.write(Shelved({"gone": ShelvedAdapter(9), **french(1, is_new=True).adapters}))
    carried_out(adapters, loop)
    assert (named(adapters), list(runtime.open)) == (("french",), ["french"])


def test_an_engine_that_is_started_again_has_all_but_those_that_it_never_ran_with(
    runtime: Adapting, shelf: AdapterShelf
) -> None:
    kept = {"french": ShelvedAdapter(1), "new": ShelvedAdapter(2, is_new=True), "gone": ShelvedAdapter(9)}
    shelf.write(Shelved(kept))
    adapters = Adapters(engine_config(), runtime, {ADAPTERS_VARIABLE: str(shelf.path.parent)})
    assert (named(adapters), list(runtime.open)) == (("french",), ["french"])
    adapters.close()


def test_a_runtime_that_takes_none_says_so() -> None:
    runtime = ScriptedRuntime()
    adapters = Adapters(engine_config(), runtime, {})
    with engine_loop(runtime) as loop, pytest.raises(InvalidRequest, match="takes no adapters while it serves"):
        refreshed(adapters, loop)
    adapters.close()
