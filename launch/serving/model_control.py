"""Loads and unloads engines while the others serve, one order at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from launch.descendants import command_line, marked_processes
from launch.health.reports import EngineReports
from launch.health.repository import ModelRepository
from launch.health.stubs import StubWatch, stub_model
from launch.shared_memory import hide_shared_memory, remove_regions
from triton_repo.contract.health.engine_states import LOADING, UNLOADED, UNLOADING
from triton_repo.contract.health.model_orders import Order, Outcome

CONFIGS: Final = "*/config.pbtxt"  # of a model repository
SETTLE_S: Final = 0.5  # for every gateway to read what has become of an engine, and to send the requests that it has
_POLL_S: Final = 0.1
_END_S: Final = 30.0  # for processes of models to end, once nothing uses them


class ModelControl:
    """Of the `engines` of one tritonserver, each with its model repository.

    Those that `reports` call absent are not loaded. That outlives the server: started again, it loads the same engines.
    """

    def __init__(
        self,
        engines: Mapping[str, Path],
        repository: ModelRepository,
        reports: EngineReports,
        stubs: StubWatch,
        shm_prefix: str,
    ) -> None:
        self._engines = engines
        self._repository = repository
        self._reports = reports
        self._stubs = stubs
        self._shm_prefix = shm_prefix
        self._one_at_a_time = asyncio.Lock()

    def arguments(self) -> tuple[str, ...]:
        """Of a tritonserver that starts: the models that it is to load."""
        absent = self._reports.absent
        return tuple(f"--load-model={engine}" for engine in self._engines if engine not in absent)

    async def carry_out(self, order: Order) -> Outcome:
        if order.engine not in self._engines:
            return Outcome(known=False, failure=f"there is no engine {order.engine}")
        async with self._one_at_a_time:
            if (order.verb == "load") != (order.engine in self._reports.absent):
                return Outcome()  # it is so already
            if order.verb == "load":
                return Outcome(failure=await self._load(order.engine))
            return Outcome(failure=await self._unload(order.engine, order.grace_s))

    async def _load(self, engine: str) -> str | None:
        self._reports.set_absent(engine, LOADING)
        models = self._models(engine)
        failure = await self._repository.load([engine])  # and its steps with it, which it would load a second time
        if failure is not None:
            await self._repository.unload([engine])
            await self._repository.unload(models - {engine})
            self._reports.set_absent(engine, UNLOADED)
            return failure
        hide_shared_memory(self._shm_prefix)
        self._stubs.look_again()
        self._reports.set_absent(engine, None)
        await asyncio.sleep(SETTLE_S)
        return None

    async def _unload(self, engine: str, grace_s: float) -> str | None:
        """Its open requests end first: Triton keeps the ensemble until they have, and its steps are kept so long."""
        self._reports.set_absent(engine, UNLOADING)
        await asyncio.sleep(SETTLE_S)
        steps = self._models(engine) - {engine}
        failure = await self._repository.unload([engine])
        if not await self._is_gone(engine, grace_s):
            self._kill(steps | {engine})
            self._reports.count_lost(engine)
        failure = failure or await self._repository.unload(steps)
        if not await self._have_ended(steps | {engine}):
            self._kill(steps | {engine})
        remove_regions(self._stubs.take_regions(steps | {engine}))
        self._reports.set_absent(engine, UNLOADED)
        return failure

    async def _is_gone(self, engine: str, within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while (await self._repository.states()).get(engine) in ("READY", "LOADING", "UNLOADING"):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def _have_ended(self, models: Collection[str]) -> bool:
        deadline = time.monotonic() + _END_S
        while self._processes(models):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def _kill(self, models: Collection[str]) -> None:
        for pid in self._processes(models):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _processes(self, models: Collection[str]) -> list[int]:
        return [pid for pid in marked_processes(self._stubs.mark) if stub_model(command_line(pid)) in models]

    def _models(self, engine: str) -> set[str]:
        return {config.parent.name for config in self._engines[engine].glob(CONFIGS)}
