"""The models of engines in a running tritonserver: what loads them, unloads them, and ends their processes.

An engine is loaded as its ensemble alone, which loads its steps: Triton 2.51 loads a step twice where it is asked for
the step and then for the ensemble, and has aborted at that. It is unloaded by the name of every model: with
`unload_dependents` steps would stay as they are once nothing but the ensemble asked for them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from launch.descendants import command_line, marked_processes, parent_of
from launch.health.repository import ModelRepository
from launch.health.stubs import StubWatch, stub_model
from launch.shared_memory import hide_shared_memory, remove_regions

CONFIGS: Final = "*/config.pbtxt"  # of a model repository
PROGRAMS: Final = "*/1/model.py"  # the models that Triton runs in processes of their own

_LOADED: Final = ("READY", "LOADING", "UNLOADING")
_POLL_S: Final = 0.1


class EngineModels:
    """Of the `engines` of one tritonserver, each with its model repository; `stubs` watches their processes.

    The server lets models be loaded. Whoever changes an engine holds its lock.
    """

    def __init__(
        self, engines: Mapping[str, Path], repository: ModelRepository, stubs: StubWatch, shm_prefix: str
    ) -> None:
        self._engines = engines
        self._repository = repository
        self._stubs = stubs
        self._shm_prefix = shm_prefix
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def engines(self) -> Collection[str]:
        return self._engines.keys()

    def lock(self, engine: str) -> asyncio.Lock:
        return self._locks[engine]

    async def load(self, engine: str) -> str | None:
        """Why it does not run; None where it does."""
        if (failure := await self._repository.load([engine])) is not None:
            return failure
        hide_shared_memory(self._shm_prefix)
        self._stubs.look_again()
        missing = self._of_pattern(engine, PROGRAMS) - {self._model_of(pid) for pid in self.processes(engine)}
        return f"Triton does not run {', '.join(sorted(missing))}" if missing else None  # although it says so

    async def unload_ensemble(self, engine: str) -> str | None:
        """Why not. Triton goes on with it, and so must the steps, until its requests have ended."""
        return await self._repository.unload([engine])

    async def unload_steps(self, engine: str) -> str | None:
        return await self._repository.unload(self._of_pattern(engine, CONFIGS) - {engine})

    async def ensemble_is_gone(self, engine: str, within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while (await self._repository.states()).get(engine) in _LOADED:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def processes_end(self, engine: str, within_s: float) -> None:
        """By themselves, or killed after that."""
        deadline = time.monotonic() + within_s
        while self.processes(engine) and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
        _kill(self.processes(engine))

    def processes(self, engine: str) -> list[int]:
        models = self._of_pattern(engine, CONFIGS)
        return [pid for pid in marked_processes(self._stubs.mark) if self._model_of(pid) in models]

    def kill_processes(self, engine: str) -> None:
        _kill(self.processes(engine))

    def kill_orphans(self, server: int) -> None:
        """What processes of models have left that died: MPI workers, say. `server` is tritonserver's id."""
        _kill(pid for pid in marked_processes(self._stubs.mark) if not _descends(pid, server))

    def remove_memory(self, engine: str) -> None:
        """Triton, which keeps the requests of a dead process, keeps their memory too, but needs its name no more."""
        remove_regions(self._stubs.take_regions(self._of_pattern(engine, CONFIGS)))

    def _of_pattern(self, engine: str, pattern: str) -> set[str]:
        return {path.relative_to(self._engines[engine]).parts[0] for path in self._engines[engine].glob(pattern)}

    @staticmethod
    def _model_of(pid: int) -> str | None:
        return stub_model(command_line(pid))


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = parent_of(pid)
    return False
