"""What is told of engines from several threads reaches the file whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launch.health.reports import EngineReports
from triton_repo.contract.health.engine_states import read_states

NUM_LOSSES = 400


def test_reports_from_several_threads_do_not_spoil_each_other(tmp_path: Path) -> None:
    reports = EngineReports(tmp_path / "engine-states")

    def stall(number: int) -> None:
        reports.stall({"tale_engine": "does not respond" * (number % 100)})

    def lose(number: int) -> None:
        reports.lose("tale")
        assert read_states(tmp_path / "engine-states").lost.get("tale", 0) > number

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        stalls, losses = first.map(stall, range(NUM_LOSSES)), second.map(lose, range(NUM_LOSSES))
        list(losses)
        list(stalls)
    assert read_states(tmp_path / "engine-states").lost == {"tale": NUM_LOSSES}
