"""Starts one engine again in a tritonserver that goes on serving the others.

Triton 2.51 does not start the process of a decoupled Python model again, and keeps the requests that it had. But it
loads the model a second time, and as often as it has to, where every model of the engine is unloaded and loaded by its
own name. With `unload_dependents` it would leave the steps as they are once nothing but the ensemble asked for them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from launch.descendants import command_line, marked_processes, parent_of
from launch.health.reports import EngineReports
from launch.health.repository import ModelRepository
from launch.health.stubs import StubWatch, stub_model
from launch.journal import LogLine
from launch.kserve import TritonAccess
from launch.shared_memory import hide_shared_memory, remove_regions
from triton_repo.contract.health.restart_policy import RestartPolicy

PROGRAMS: Final = "*/1/model.py"  # of a model repository: the models that Triton runs in processes of their own

_POLICY: Final = RestartPolicy(longest_delay_s=5.0)  # on top of what loading takes; none gives up, since others serve


class EngineRecovery:
    """Of the `engines` of one service, each with its model repository; `stubs` watches their processes.

    Its Triton lets models be loaded.
    """

    def __init__(
        self,
        engines: Mapping[str, Path],
        shm_prefix: str,
        access: TritonAccess,
        reports: EngineReports,
        stubs: StubWatch,
    ) -> None:
        self._engines = engines
        self._mark = stubs.mark
        self._shm_prefix = shm_prefix
        self._repository = ModelRepository(access)
        self._reports = reports
        self._stubs = stubs
        self._failures: Counter[str] = Counter()  # in a row, by engine
        self._ready_s: dict[str, float] = {}  # since when, of those that were recovered

    async def recover(self, engine: str, server: int, log: LogLine) -> bool:
        """Whether `engine` is served again, however often that has to be tried, and the others have gone on.

        `server` is tritonserver's id. False at once where there is no other engine to spare. One that the
        operator has unloaded is left as it is.
        """
        if engine in self._reports.absent:
            return True
        if engine not in self._engines or len(self._engines) == 1:
            return False
        self._reports.lose(engine)
        self._count_failure(engine)
        while not await self._load(engine, server, log):
            log("conch", f"{engine} cannot be loaded; its models' output says why")
            self._failures[engine] += 1
        self._ready_s[engine] = time.monotonic()
        self._stubs.look_again()
        self._reports.bring_back(engine)
        log("conch", f"{engine} is ready again")
        return True

    def forget(self) -> None:
        """The server has ended, and all that its engines had lost with it."""
        self._failures.clear()
        self._reports.forget()

    def _count_failure(self, engine: str) -> None:
        served_s = time.monotonic() - self._ready_s.get(engine, 0.0)
        self._failures[engine] = _POLICY.failures(self._failures[engine], served_s)

    async def _load(self, engine: str, server: int, log: LogLine) -> bool:
        """Later each time; whether all of it then runs."""
        models = self._models(engine)
        steps = models - {engine}  # of an ensemble, which has no process itself
        self._kill_processes(models, server)
        if (failures := self._failures[engine] - 1) > 0:
            await asyncio.sleep(_POLICY.delay_s(failures))
        log("conch", f"loading {engine} again")
        await self._repository.unload([engine])
        await self._repository.unload(steps)
        # Triton, which keeps the requests of a dead process, keeps their memory too, but needs its name no more.
        remove_regions(self._stubs.take_regions(models))
        if await self._repository.load(steps) or await self._repository.load([engine]):
            return False
        hide_shared_memory(self._shm_prefix)
        running = {stub_model(command_line(pid)) for pid in marked_processes(self._mark)}
        return running >= models  # it may say so of what it has not loaded

    def _kill_processes(self, models: Collection[str], server: int) -> None:
        """The stubs of the engine that still run, and what those that died have left: MPI workers, say."""
        for pid in marked_processes(self._mark):
            if stub_model(command_line(pid)) in models or not _descends(pid, server):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _models(self, engine: str) -> set[str]:
        """Those of its models that have a process."""
        return {program.parent.parent.name for program in self._engines[engine].glob(PROGRAMS)}


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = parent_of(pid)
    return False
