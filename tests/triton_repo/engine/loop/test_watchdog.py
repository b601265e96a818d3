"""A step that hangs: its clients get an error, the process is given up, and a renewal says so before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest

from tests.triton_repo.engine.loop.running_loop import AT_ONCE, TEXT, WAIT_S, eventually, request
from tests.triton_repo.engines_under_test import RecordingSink, ScriptedRuntime
from triton_repo.contract.engine_config import ReplayConfig
from triton_repo.contract.errors import EngineFailed, EngineUnavailable
from triton_repo.engine.loop.loop import EngineLoop, LoopSettings
from triton_repo.engine.loop.watchdog import STALL_S, Progress
from triton_repo.engine.runtimes.replay import ReplayRuntime
from triton_repo.engine.runtimes.runtime import Runtime, TokenDelta

SHORT_S = 0.05


class HangingRuntime(ScriptedRuntime):
    """A step with work does not return until the test is over."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = threading.Event()
        self.released = threading.Event()
        self.closed = threading.Event()
        self.loaded = float("-inf")

    def step(self) -> Sequence[TokenDelta]:
        if self.submitted:
            self.hangs.set()
            self.released.wait()
        return super().step()

    def loaded_s(self) -> float:
        return self.loaded

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def hanging() -> HangingRuntime:
    return HangingRuntime()


class Loops:
    """The engine loops of a test, which end with it: their threads would report into the tests that follow."""

    def __init__(self, ends: ExitStack) -> None:
        self._ends = ends

    def open(
        self,
        runtime: Runtime,
        *,
        max_step_s: float = 0.0,
        stall_s: float = STALL_S,
        observe_step_age: Callable[[float], None] = lambda _: None,
        give_up: Callable[[], None] = lambda: None,
    ) -> EngineLoop:
        settings = LoopSettings(AT_ONCE, max_step_s, stall_s)
        loop = EngineLoop(runtime, settings, observe_step_age=observe_step_age, give_up=give_up)
        self._ends.callback(loop.close)
        return loop


@pytest.fixture
def loops(hanging: HangingRuntime) -> Iterator[Loops]:
    with ExitStack() as ends:
        yield Loops(ends)
        hanging.released.set()


def test_a_step_that_hangs_fails_what_is_live_and_what_waits_and_is_given_up(
    hanging: HangingRuntime, loops: Loops
) -> None:
    given_up, hung, waiting, channel = threading.Event(), RecordingSink(), RecordingSink(), RecordingSink()
    loop = loops.open(hanging, max_step_s=SHORT_S, give_up=given_up.set)
    loop.subscribe("channel", channel)
    loop.submit("a", request(), hung, "channel")
    assert hanging.hangs.wait(WAIT_S)
    loop.submit("b", request(), waiting)
    assert given_up.wait(WAIT_S)
    for sink in (hung, waiting, channel):
        [error] = sink.errors
        assert isinstance(error, EngineFailed)
        assert error.message.startswith("the engine has made no progress for ")


class BlockedSink(RecordingSink):
    """A client whose message Triton never takes."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def fail(self, error: Exception) -> None:  # noqa: ARG002
        self.released.wait()


def test_a_client_that_cannot_be_answered_does_not_keep_a_hung_engine_alive(
    hanging: HangingRuntime, loops: Loops
) -> None:
    given_up, sink = threading.Event(), BlockedSink()
    loop = loops.open(hanging, max_step_s=SHORT_S, give_up=given_up.set)
    loop.submit("a", request(), sink)
    assert given_up.wait(WAIT_S)
    sink.released.set()


def test_without_a_limit_a_step_may_take_as_long_as_it_likes(hanging: HangingRuntime, loops: Loops) -> None:
    given_up, sink, ages = threading.Event(), RecordingSink(), list[float]()
    loop = loops.open(hanging, observe_step_age=ages.append, give_up=given_up.set)
    loop.submit("a", request(), sink)
    eventually(lambda: len(ages) >= 2 and ages[-1] > 1)
    assert not given_up.is_set()
    assert sink.errors == []


def test_loading_the_model_again_is_no_step(hanging: HangingRuntime, loops: Loops) -> None:
    hanging.loaded = float("inf")
    given_up, ages = threading.Event(), list[float]()
    loop = loops.open(hanging, max_step_s=SHORT_S, observe_step_age=ages.append, give_up=given_up.set)
    loop.submit("a", request(), RecordingSink())
    assert hanging.hangs.wait(WAIT_S)
    eventually(lambda: len(ages) > 20)
    assert not given_up.is_set()
    hanging.loaded = time.monotonic()
    assert given_up.wait(WAIT_S)


def test_the_clock_of_a_step_that_loaded_the_model_begins_when_that_ended(hanging: HangingRuntime) -> None:
    progress = Progress(hanging)
    progress.begin_turn()
    time.sleep(SHORT_S)  # the load
    hanging.loaded = time.monotonic()
    since_the_load_s = progress.step_age_s()
    hanging.loaded = float("-inf")
    assert progress.step_age_s() >= since_the_load_s + SHORT_S


def fails(_: float) -> None:
    raise OSError("the server of the metrics is gone")


def test_a_hang_is_noticed_though_its_age_cannot_be_reported(hanging: HangingRuntime, loops: Loops) -> None:
    given_up = threading.Event()
    loop = loops.open(hanging, max_step_s=SHORT_S, observe_step_age=fails, give_up=given_up.set)
    time.sleep(SHORT_S)  # a report or more before there is a hang
    loop.submit("a", request(), RecordingSink())
    assert given_up.wait(WAIT_S)


def test_a_hang_is_noticed_though_a_report_of_its_age_never_returns(hanging: HangingRuntime, loops: Loops) -> None:
    given_up, reports, released = threading.Event(), threading.Event(), threading.Event()

    def blocks(_: float) -> None:
        reports.set()
        released.wait()

    loop = loops.open(hanging, max_step_s=SHORT_S, observe_step_age=blocks, give_up=given_up.set)
    assert reports.wait(WAIT_S)
    loop.submit("a", request(), RecordingSink())
    assert given_up.wait(WAIT_S)
    released.set()


def test_an_engine_that_makes_progress_or_has_nothing_to_do_is_not_given_up(loops: Loops) -> None:
    given_up, sink, ages = threading.Event(), RecordingSink(), list[float]()
    runtime = ReplayRuntime(ReplayConfig(token_ids=TEXT, tokens_per_second=20))
    loop = loops.open(runtime, max_step_s=5.0, observe_step_age=ages.append, give_up=given_up.set)
    loop.submit("a", request(20), sink)
    eventually(lambda: sink.ends == 1 and len(ages) > 1)
    assert not given_up.is_set()


def test_a_renewal_names_the_stall_and_extends_the_lease_all_the_same(hanging: HangingRuntime, loops: Loops) -> None:
    loop = loops.open(hanging, stall_s=SHORT_S)
    loop.renew("channel")
    loop.submit("a", request(), RecordingSink())
    assert hanging.hangs.wait(WAIT_S)

    def renewal_fails() -> bool:
        try:
            loop.renew("channel")
        except EngineUnavailable as error:
            return error.message == "the engine has made no progress for 0 s"
        return False

    eventually(renewal_fails)
    hanging.submitted.clear()
    hanging.released.set()
    eventually(lambda: not renewal_fails())


def test_closing_an_engine_that_hangs_ends_and_answers_its_clients(hanging: HangingRuntime, loops: Loops) -> None:
    loop, sink = loops.open(hanging), RecordingSink()
    loop.submit("a", request(), sink)
    assert hanging.hangs.wait(WAIT_S)
    loop.close(timeout_s=SHORT_S)
    assert [type(error) for error in sink.errors] == [EngineUnavailable]
    hanging.submitted.clear()
    hanging.released.set()
    assert hanging.closed.wait(WAIT_S), "a step that ends after all is the last one"


class RemoteRuntime(ScriptedRuntime):
    """Computes elsewhere: its steps return at once, whether anything is computed or not."""

    def __init__(self) -> None:
        super().__init__()
        self.worked_s = 0.0

    def on_arrival(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def last_work_s(self) -> float:
        return self.worked_s


def test_an_asynchronous_runtime_that_shows_no_work_is_given_up_once_requests_are_live(loops: Loops) -> None:
    given_up, sink, ages = threading.Event(), RecordingSink(), list[float]()
    loop = loops.open(RemoteRuntime(), max_step_s=SHORT_S, observe_step_age=ages.append, give_up=given_up.set)
    eventually(lambda: len(ages) > 10)
    assert not given_up.is_set(), "nothing is live"
    loop.submit("a", request(), sink)
    assert given_up.wait(WAIT_S)
    assert [type(error) for error in sink.errors] == [EngineFailed]


def test_an_asynchronous_runtime_that_works_without_a_token_is_not_given_up(loops: Loops) -> None:
    runtime, given_up, ages = RemoteRuntime(), threading.Event(), list[float]()
    runtime.worked_s = float("inf")  # at any time
    loop = loops.open(runtime, max_step_s=SHORT_S, observe_step_age=ages.append, give_up=given_up.set)
    loop.submit("a", request(), RecordingSink())
    eventually(lambda: len(runtime.submitted) == 1)
    eventually(lambda: len(ages) > 20)
    assert not given_up.is_set()
