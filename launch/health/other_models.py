"""Loads a model beside the engines again whose process died, in a tritonserver that goes on serving the rest.

Triton 2.51 answers every later request to it with an error, and calls it ready.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from typing import Final

from launch.health.repository import ModelRepository
from launch.health.stubs import StubWatch
from launch.journal import LogLine
from launch.shared_memory import hide_shared_memory, remove_regions
from triton_repo.contract.health.restart_policy import RestartPolicy

_POLICY: Final = RestartPolicy()
_READY: Final = "READY"


class OtherModels:
    """Of the models with these `names`; `stubs` watches their processes."""

    def __init__(self, names: Collection[str], repository: ModelRepository, stubs: StubWatch, shm_prefix: str) -> None:
        self.names = names
        self._repository = repository
        self._stubs = stubs
        self._shm_prefix = shm_prefix
        self._failures: Counter[str] = Counter()  # in a row, by model
        self._ready_s: dict[str, float] = {}  # since when, of those that were loaded again

    async def load_again(self, model: str, log: LogLine) -> None:
        """Later each time that it dies soon. One that cannot be loaded is left out until the next start."""
        served_s = time.monotonic() - self._ready_s.get(model, 0.0)
        self._failures[model] = _POLICY.failures(self._failures[model], served_s)
        await asyncio.sleep(_POLICY.delay_s(self._failures[model]))
        log("conch", f"loading {model} again")
        before = await self._repository.states()
        await self._repository.unload([model])
        remove_regions(self._stubs.take_regions([model]))
        failure = await self._repository.load([model])
        if failure is None:
            failure = await self._load_dependents(before)
        hide_shared_memory(self._shm_prefix)
        self._stubs.look_again()
        self._ready_s[model] = time.monotonic()
        log("conch", f"{model} is not served: {failure}" if failure else f"{model} is ready again")

    async def _load_dependents(self, before: dict[str, str]) -> str | None:
        """Ensembles that went with it; Triton itself brings back some of them."""
        now = await self._repository.states()
        gone = [name for name in self.names if before.get(name) == _READY and now.get(name) != _READY]
        return await self._repository.load(gone)
