"""The engines that make no progress or were lost, as `conch serve` says in a file; none where it does not run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from triton_repo.contract.health.engine_states import LOADED, EngineStates, read_states

INTERVAL_S: Final = 0.1


class EngineStatesFile:
    """Asked for every request, it reads the file at most once in an interval."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._states = EngineStates() if file is None else read_states(file)
        self._lost = dict(self._states.lost)
        self._loads = self._states.loads
        self._adapters = _loaded(self._states)
        self._next_s = 0.0

    def stall(self, model: str) -> str | None:
        """Why an engine makes no progress; None if it does."""
        return self._read().stalls.get(model)

    def was_lost(self, model: str) -> bool:
        return model in self._read().lost

    @property
    def absent(self) -> Mapping[str, str]:
        """The engines that the operator has unloaded, or is loading, and which of it."""
        return self._read().absent

    @property
    def adapters(self) -> Mapping[str, Sequence[str]]:
        """Of each engine those that were loaded while it served, and that requests may name."""
        self._read()
        return self._adapters

    def has_changed(self) -> bool:
        """An engine was loaded or unloaded since it was asked before."""
        loads = self._read().loads
        changed, self._loads = loads != self._loads, loads
        return changed

    def newly_lost(self) -> list[str]:
        """The engines that were lost since it was asked before."""
        lost = self._read().lost
        models = [model for model, times in lost.items() if times != self._lost.get(model, 0)]
        self._lost = dict(lost)
        return models

    def _read(self) -> EngineStates:
        now_s = time.monotonic()
        if self._file is not None and now_s >= self._next_s:
            self._next_s = now_s + INTERVAL_S
            states = read_states(self._file)
            if states.adapters != self._states.adapters:
                self._adapters = _loaded(states)
            self._states = states
        return self._states


def _loaded(states: EngineStates) -> Mapping[str, Sequence[str]]:
    every = states.adapters.items()
    return {engine: sorted(name for name, state in of.items() if state == LOADED) for engine, of in every}
