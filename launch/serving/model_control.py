"""Loads and unloads engines while the others serve, one order at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from launch.health.engine_models import EngineModels
from launch.health.reports import EngineReports
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.health.engine_states import LOADING, UNLOADED, UNLOADING
from triton_repo.contract.health.model_orders import Order, Outcome
from triton_repo.embed.settings import EncoderConfig

SETTLE_S: Final = 0.5  # for every gateway to read what has become of an engine, and to send the requests that it has
_END_S: Final = 30.0  # for processes of models to end, once nothing uses them


CheckPlacement = Callable[[Collection[str]], None]
"""Raises LaunchError where the engines of these names do not fit beside each other."""


class Loadable(NamedTuple):
    """The engines that a server may load: the repository of each by its name, and which of them fit together."""

    repositories: Mapping[str, Path]
    encoders: Sequence[EncoderConfig]
    check_placement: CheckPlacement


class ModelControl:
    """Of the engines of one tritonserver.

    Those that `reports` call absent are not loaded. That outlives the server: started again, it loads the same engines.

    Args:
        check_placement: see `Loadable`.
    """

    def __init__(self, models: EngineModels, reports: EngineReports, check_placement: CheckPlacement) -> None:
        self._models = models
        self._check_placement = check_placement
        self._reports = reports
        self._one_at_a_time = asyncio.Lock()

    def arguments(self) -> tuple[str, ...]:
        """Of a tritonserver that starts: the models that it is to load."""
        return tuple(f"--load-model={engine}" for engine in self._models.engines if self._is_loaded(engine))

    async def carry_out(self, order: Order) -> Outcome:
        if order.engine not in self._models.engines:
            return Outcome(known=False, failure=f"there is no engine {order.engine}")
        async with self._one_at_a_time:
            if (order.verb == "load") != (order.engine in self._reports.absent):
                return Outcome()  # it is so already
            if order.verb == "unload":
                self._reports.set_absent(order.engine, UNLOADING)  # which ends its recovery, too
            async with self._models.lock(order.engine):
                if order.verb == "load":
                    try:
                        self._check_placement([*filter(self._is_loaded, self._models.engines), order.engine])
                    except LaunchError as error:
                        return Outcome(failure=str(error), fits=False)
                    return Outcome(failure=await self._load(order.engine))
                return Outcome(failure=await self._unload(order.engine, order.grace_s))

    def _is_loaded(self, engine: str) -> bool:
        return engine not in self._reports.absent

    async def _load(self, engine: str) -> str | None:
        self._reports.set_absent(engine, LOADING)
        failure = await self._models.load(engine)
        if failure is not None:
            await self._models.unload_ensemble(engine)
            await self._models.unload_steps(engine)
            self._reports.set_absent(engine, UNLOADED)
            return failure
        self._reports.set_absent(engine, None)
        await asyncio.sleep(SETTLE_S)
        return None

    async def _unload(self, engine: str, grace_s: float) -> str | None:
        """Its open requests end first: Triton keeps the ensemble until they have, and its steps are kept so long."""
        await asyncio.sleep(SETTLE_S)
        failure = await self._models.unload_ensemble(engine)
        if not await self._models.ensemble_is_gone(engine, grace_s):
            self._models.kill_processes(engine)
            self._reports.count_lost(engine)
        failure = failure or await self._models.unload_steps(engine)
        await self._models.processes_end(engine, _END_S)
        self._models.remove_memory(engine)
        self._reports.set_absent(engine, UNLOADED)
        return failure
