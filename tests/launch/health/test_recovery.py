"""What starts an engine again, beside an operator who loads and unloads it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from launch.health.engine_models import EngineModels
from launch.health.recovery import EngineRecovery
from launch.health.reports import EngineReports
from launch.health.repository import ModelRepository
from launch.health.stubs import StubWatch
from launch.kserve import private_sockets
from triton_repo.contract.health.engine_states import UNLOADED, UNLOADING


def test_a_fault_of_an_engine_that_is_being_unloaded_is_left_to_that_order(tmp_path: Path) -> None:
    """A process that hangs is at fault until the order kills it: the fault would be found and logged at each look."""
    access = private_sockets(tmp_path)
    repositories = {name: tmp_path / name for name in ("a", "b")}
    models = EngineModels(repositories, ModelRepository(access), StubWatch("mark", access), "")
    reports = EngineReports(tmp_path / "states")
    said: list[str] = []

    async def unload() -> bool:
        recovery = EngineRecovery(models, reports)
        reports.set_absent("a", UNLOADING)
        async with models.lock("a"):
            recovering = asyncio.create_task(recovery.recover("a", 0, lambda _, line: said.append(line)))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not recovering.done()
            reports.set_absent("a", UNLOADED)
        return await recovering

    assert asyncio.run(unload())
    assert said == []
