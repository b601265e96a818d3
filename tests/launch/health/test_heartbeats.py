"""Processes that beat as the stub of a Python model does, and what is found out about them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from launch.health import heartbeats
from launch.health.faults import Fault
from launch.health.heartbeats import HeartbeatWatch
from launch.health.reports import EngineReports
from launch.tritonserver import STUB
from tests.conftest import ROOT
from tests.launch.conftest import WAIT_S
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.health.engine_states import EngineStates, read_states
from triton_repo.contract.health.heartbeat import HEARTBEATS_VARIABLE, read_beats

FROZEN_S = 1.5
BEATS = "import time; from triton_repo.contract.health.heartbeat import Heart, Work; work = Work(); work.__enter__()\n"
IDLES = "Heart('tale_engine', lambda: 0.0, limit_s=1); time.sleep(600)\n"
WORKS_FOR_EVER = "Heart('tale_engine', work.age_s, limit_s=1); time.sleep(600)\n"
# A regular expression keeps the GIL while it computes, as OpenVINO does for a step.
KEEPS_THE_GIL = (
    "Heart('tale_engine', lambda: 0.0, limit_s=60); time.sleep(1); import re; re.match('(a+)+$', 'a' * 64 + 'b')"
)

Start = Callable[[str], int]


@pytest.fixture
def beats(tmp_path: Path) -> Path:
    directory = tmp_path / "heartbeats"
    directory.mkdir()
    return directory


@pytest.fixture
def start(tmp_path: Path, beats: Path) -> Iterator[Start]:
    """Starts a process that looks like the stub of `tale_engine` and runs code; its id, once it beats."""
    model = tmp_path / "tale_engine" / "1" / "model.py"
    model.parent.mkdir(parents=True)
    with ExitStack() as ends:

        def run(code: str) -> int:
            model.write_text(BEATS + code, encoding="utf-8")
            environment = {**os.environ, "PYTHONPATH": str(ROOT), HEARTBEATS_VARIABLE: str(beats)}
            process = subprocess.Popen([STUB, str(model), "region"], executable=sys.executable, env=environment)
            ends.callback(process.wait)
            ends.callback(process.kill)
            while not (beat := read_beats(beats)) or beat["tale_engine"].pid != process.pid:
                time.sleep(0.02)
            return process.pid

        yield run


def looks(watch: HeartbeatWatch, until: Callable[[Fault | None], bool]) -> Fault | None:
    """What it finds once `until` holds, looking as often as the supervisor does."""
    deadline = time.monotonic() + WAIT_S
    while not until(fault := asyncio.run(watch.find_fault())):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return fault


class Reports(list[Mapping[str, str]]):
    def __init__(self) -> None:
        super().__init__([{}])


def test_a_stopped_process_stalls_its_model_at_once_and_is_at_fault_later(beats: Path, start: Start) -> None:
    reports = Reports()
    watch = HeartbeatWatch(beats, FROZEN_S, reports.append)
    pid = start(IDLES)
    looks(watch, lambda _: read_beats(beats)["tale_engine"].number > 5)
    assert reports == [{}]
    os.kill(pid, signal.SIGSTOP)
    assert looks(watch, bool) == Fault("model tale_engine does not respond", "tale")
    assert reports == [{}, {"tale_engine": "does not respond"}]


def test_one_that_goes_on_in_time_is_at_no_fault(beats: Path, start: Start) -> None:
    reports = Reports()
    watch = HeartbeatWatch(beats, 600, reports.append)
    pid = start(IDLES)
    os.kill(pid, signal.SIGSTOP)
    looks(watch, lambda _: reports[-1] != {})
    os.kill(pid, signal.SIGCONT)
    assert looks(watch, lambda _: reports[-1] == {}) is None


def test_one_that_computes_without_a_beat_is_given_the_time_of_a_step(beats: Path, start: Start) -> None:
    reports = Reports()
    watch = HeartbeatWatch(beats, FROZEN_S, reports.append)
    start(KEEPS_THE_GIL)
    silent_since: list[float] = []

    def computes_without_a_beat(_: Fault | None) -> bool:
        number = read_beats(beats)["tale_engine"].number
        silent_since[:] = [*[since for since in silent_since if since == number], number]
        return len(silent_since) > 3 * FROZEN_S / 0.1

    assert looks(watch, computes_without_a_beat) is None
    assert reports == [{}]


def test_one_that_never_ends_a_piece_of_work_is_at_fault(
    beats: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "STUCK_S", 0.5)
    monkeypatch.setattr(heartbeats, "_LIMIT_MARGIN_S", 0.5)
    reports = Reports()
    start(WORKS_FOR_EVER)
    fault = looks(HeartbeatWatch(beats, 600, reports.append), bool)
    assert fault
    assert fault.why.startswith("model tale_engine has made no progress for ")
    assert list(reports[-1]) == ["tale_engine"]


def test_a_process_that_has_ended_is_the_business_of_others(beats: Path, start: Start) -> None:
    reports = Reports()
    watch = HeartbeatWatch(beats, 0, reports.append)
    os.kill(start(IDLES), signal.SIGKILL)
    time.sleep(1)
    assert asyncio.run(watch.find_fault()) is None
    watch.forget()
    assert read_beats(beats) == {}
    assert reports == [{}]


def test_a_directory_that_another_program_removes_ends_the_run_with_one_sentence(beats: Path) -> None:
    watch = HeartbeatWatch(beats, FROZEN_S, Reports().append)
    beats.rmdir()
    with pytest.raises(LaunchError, match=r"has been removed by another program.*XDG_RUNTIME_DIR"):
        asyncio.run(watch.find_fault())
    watch.forget()


def test_the_gateway_reads_what_was_last_said_of_all_engines(tmp_path: Path) -> None:
    file = tmp_path / "states"
    assert read_states(file) == EngineStates()
    reports = EngineReports(file)
    reports.stall({"tale_engine": "does not respond"})
    assert read_states(file) == EngineStates({"tale": "tale_engine does not respond"})
    reports.lose("other")
    reports.stall({})
    assert read_states(file) == EngineStates({"other": "other is being started again"}, {"other": 1})
    reports.bring_back("other")
    assert read_states(file) == EngineStates({}, {"other": 1})
    reports.lose("other")
    reports.forget()
    assert read_states(file) == EngineStates({}, {"other": 2})
