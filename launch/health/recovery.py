"""Starts one engine again in a tritonserver that goes on serving the others.

Triton 2.51 does not start the process of a decoupled Python model again, and keeps the requests that it had. But it
loads the engine a second time, and as often as it has to, where all of it was unloaded before.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final

from launch.health.engine_models import EngineModels
from launch.health.reports import EngineReports
from launch.journal import LogLine
from triton_repo.contract.health.restart_policy import RestartPolicy

_POLICY: Final = RestartPolicy(longest_delay_s=5.0)  # on top of what loading takes; none gives up, since others serve


class EngineRecovery:
    """Of the engines of one tritonserver."""

    def __init__(self, models: EngineModels, reports: EngineReports) -> None:
        self._models = models
        self._reports = reports
        self._failures: Counter[str] = Counter()  # in a row, by engine
        self._ready_s: dict[str, float] = {}  # since when, of those that were recovered

    async def recover(self, engine: str, server: int, log: LogLine) -> bool:
        """Whether `engine` is served again, however often that has to be tried, and the others have gone on.

        `server` is tritonserver's id. False at once where there is no other engine to spare. One that the
        operator loads or unloads is left to that order, which ends its processes.
        """
        if engine in self._reports.absent:
            async with self._models.lock(engine):  # until then the same fault would be found again and again
                return True
        if engine not in self._models.engines or len(self._models.engines) == 1:
            return False
        self._reports.lose(engine)
        self._count_failure(engine)
        while not await self._is_settled(engine, server, log):
            self._failures[engine] += 1
        self._reports.bring_back(engine)
        return True

    def forget(self) -> None:
        """The server has ended, and all that its engines had lost with it."""
        self._failures.clear()
        self._reports.forget()

    def _count_failure(self, engine: str) -> None:
        served_s = time.monotonic() - self._ready_s.get(engine, 0.0)
        self._failures[engine] = _POLICY.failures(self._failures[engine], served_s)

    async def _is_settled(self, engine: str, server: int, log: LogLine) -> bool:
        """Tried later each time; it is too where the operator has meanwhile unloaded it."""
        async with self._models.lock(engine):
            if engine in self._reports.absent:
                return True
            if failure := await self._load(engine, server, log):
                log("conch", f"{engine} cannot be loaded: {failure}; its models' output says more")
                return False
        self._ready_s[engine] = time.monotonic()
        log("conch", f"{engine} is ready again")
        return True

    async def _load(self, engine: str, server: int, log: LogLine) -> str | None:
        """Why it does not run then."""
        self._models.kill_processes(engine)
        self._models.kill_orphans(server)
        if (failures := self._failures[engine] - 1) > 0:
            await asyncio.sleep(_POLICY.delay_s(failures))
        log("conch", f"loading {engine} again")
        await self._models.unload_ensemble(engine)
        await self._models.unload_steps(engine)
        self._models.remove_memory(engine)
        return await self._models.load(engine)
