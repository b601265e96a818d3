"""Orders for adapters: what lies where the operator allows it is loaded whole, or what there was before stays."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from launch.health.reports import EngineReports
from launch.serving import adapter_control
from launch.serving.adapter_control import AdapterControl
from launch.serving.adapter_files import allowed_directory
from tests.triton_repo.engines_under_test import engine_config
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.health.adapter_shelf import AdapterShelf, Shelved, ShelvedAdapter
from triton_repo.contract.health.engine_states import UNLOADED, read_states
from triton_repo.contract.health.model_orders import Order, Outcome

HANGS = "it hangs"


class Calls:
    """An engine that answers an order as a test says, and notes what is on its shelf then."""

    def __init__(self, shelf: AdapterShelf) -> None:
        self._shelf = shelf
        self.answers: list[Callable[[], str | None]] = []
        self.seen: list[dict[str, ShelvedAdapter]] = []

    async def refresh_adapters(self, engine: str) -> str | None:
        assert engine == "demo"
        self.seen.append(dict(self._shelf.read().adapters))
        answer = self.answers.pop(0)() if self.answers else ""
        if answer == HANGS:
            await asyncio.Event().wait()
        return answer


class Stand:
    """An engine with room for two adapters beside the one that it was built with."""

    def __init__(self, directory: Path) -> None:
        engine = directory / "engine"
        (engine / "triton").mkdir(parents=True)
        config = engine_config()
        card = replace(config.card, adapters=("built",), max_adapters=3)
        EngineDirectory(engine).config_file.write_text(config.model_copy(update={"card": card}).model_dump_json())
        self.shelf = AdapterShelf.of(directory / "shelves", "demo")
        self.reports = EngineReports(directory / "states")
        self.calls = Calls(self.shelf)
        allowed = directory / "adapters"
        for name in ("a", "b", "c"):
            (allowed / name).mkdir(parents=True)
        repositories, shelves = {"demo": engine / "triton"}, directory / "shelves"
        self._states = directory / "states"
        self._control = AdapterControl(repositories, shelves, allowed, self.calls, self.reports, 0.0)  # type: ignore[arg-type]

    def order(self, verb: str, adapter: str, path: str = "") -> Outcome:
        return asyncio.run(self._control.carry_out(Order(verb, "demo", 5.0, adapter, path)))  # type: ignore[arg-type]

    @property
    def states(self) -> dict[str, str]:
        return dict(read_states(self._states).adapters.get("demo", {}))

    @property
    def numbers(self) -> set[str]:
        """Of the adapters that take room on the shelf."""
        return {each.name for each in self.shelf.path.iterdir() if each.is_dir()}


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    def write(engine: EngineDirectory, name: str, source: Path, target: Path) -> None:
        target.mkdir(parents=True)

    monkeypatch.setattr(adapter_control, "write_adapter", write)
    return Stand(tmp_path)


def test_an_adapter_is_new_until_the_engine_runs_with_it(stand: Stand) -> None:
    assert stand.order("load", "french", "a") == Outcome()
    assert stand.calls.seen == [{"french": ShelvedAdapter(1, is_new=True)}]
    assert (stand.shelf.read().adapters, stand.states) == ({"french": ShelvedAdapter(1)}, {"french": "loaded"})
    assert stand.order("unload", "french") == Outcome()
    assert (stand.shelf.read().adapters, stand.shelf.read().grace_s, stand.states) == ({}, 5.0, {})
    assert stand.numbers == set()


def test_another_directory_takes_the_name_and_the_first_one_is_forgotten(stand: Stand) -> None:
    stand.order("load", "french", "a")
    assert stand.order("load", "french", "b") == Outcome()
    assert (stand.shelf.read().adapters, stand.numbers) == ({"french": ShelvedAdapter(2)}, {"2"})


def test_there_are_no_more_than_the_spec_has_room_for(stand: Stand) -> None:
    for name in "ab":
        assert stand.order("load", name, name) == Outcome()
    outcome = stand.order("load", "c", "c")
    assert (outcome.fits, outcome.failure) == (
        False,
        "the engine has a, b, built, and room for no more: unload one, or raise build.lora.max_loras, the adapters "
        "that its spec reserves memory for",
    )
    assert stand.order("load", "b", "c") == Outcome()


@pytest.mark.parametrize(
    ("answer", "refreshes"), [(lambda: "the engine cannot open the adapter french", 2), (lambda: None, 1)]
)
def test_after_a_failure_all_is_as_before(stand: Stand, answer: Callable[[], str | None], refreshes: int) -> None:
    stand.order("load", "french", "a")
    stand.calls.seen.clear()
    stand.calls.answers = [answer]
    outcome = stand.order("load", "french", "b")
    assert outcome.failure in ("the engine cannot open the adapter french", "the engine was lost meanwhile")
    assert (stand.shelf.read().adapters, stand.states) == ({"french": ShelvedAdapter(1)}, {"french": "loaded"})
    assert (len(stand.calls.seen), stand.numbers) == (refreshes, {"1"})


@pytest.mark.parametrize(("verb", "failing"), [("load", 1), ("load", 2), ("unload", 1)])
def test_where_the_shelf_cannot_be_written_all_is_as_before(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, verb: str, failing: int
) -> None:
    """`failing`: which write of the order; at the second one the engine has been told already."""
    stand.order("load", "french", "a")
    numbers, write = count(1), AdapterShelf.write

    def fail_once(shelf: AdapterShelf, shelved: Shelved) -> None:
        if next(numbers) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(shelf, shelved)

    monkeypatch.setattr(AdapterShelf, "write", fail_once)
    outcome = stand.order(verb, "french", "b")
    assert outcome.failure == "the directory of this run cannot be written: No space left on device"
    assert (stand.shelf.read().adapters, stand.states) == ({"french": ShelvedAdapter(1)}, {"french": "loaded"})
    assert (stand.calls.seen[-1], stand.numbers) == ({"french": ShelvedAdapter(1)}, {"1"})


def test_an_engine_that_is_lost_is_not_waited_for(stand: Stand) -> None:
    def lose() -> str:
        stand.reports.count_lost("demo")
        return HANGS

    stand.calls.answers = [lose]
    assert stand.order("load", "french", "a").failure == "the engine was lost meanwhile"
    assert (stand.shelf.read().adapters, stand.states) == ({}, {})


def test_of_an_engine_that_is_not_loaded_adapters_may_only_go(stand: Stand) -> None:
    stand.order("load", "french", "a")
    stand.reports.set_absent("demo", UNLOADED)
    stand.calls.seen.clear()
    assert stand.order("load", "german", "b") == Outcome(failure="the engine is not loaded", fits=False)
    assert stand.order("unload", "french") == Outcome()
    assert (stand.calls.seen, stand.shelf.read().adapters) == ([], {})


@pytest.mark.parametrize("path", ["../outside", "/etc", "link", "linked-file", "a/../../outside", "loop", "a\0b"])
def test_what_lies_elsewhere_once_all_links_are_followed_is_rejected(tmp_path: Path, path: str) -> None:
    allowed = tmp_path / "adapters"
    (allowed / "linked-file").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (allowed / "link").symlink_to(tmp_path / "outside")
    (allowed / "loop").symlink_to(allowed / "loop")
    (allowed / "linked-file/adapter_config.json").symlink_to("/etc/passwd")
    with pytest.raises(LaunchError, match=r"^path = "):
        allowed_directory(allowed, path)


def test_what_lies_below_is_found_by_either_form_of_its_path(tmp_path: Path) -> None:
    (tmp_path / "adapters/deep/french").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "adapters")
    found = tmp_path / "adapters/deep/french"
    for path in ("deep/french", "deep/../deep/french", str(found), str(tmp_path / "link/deep/french")):
        assert allowed_directory(tmp_path / "link", path) == found


def test_without_the_flag_nothing_is_loaded_and_the_error_names_it() -> None:
    with pytest.raises(LaunchError, match="path = 'a': conch serve was started without --adapters-directory"):
        allowed_directory(None, "a")
