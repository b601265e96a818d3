"""What is known of the engines of one run, told to its gateway by a file."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from triton_repo.contract.health.engine_states import EngineStates, write_states
from triton_repo.contract.steps import step_engine


class EngineReports:
    """Writes `file` whenever something changes. Any thread may tell it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._stalls: Mapping[str, str] = {}
        self._down: dict[str, str] = {}
        self._lost: Counter[str] = Counter()
        self._absent: dict[str, str] = {}
        self._loads = 0
        self._adapters: dict[str, Mapping[str, str]] = {}
        with self._lock:
            self._write()

    def stall(self, models: Mapping[str, str]) -> None:
        """These models make no progress, and why; all others do."""
        with self._lock:
            self._stalls = {step_engine(model): f"{model} {why}" for model, why in models.items()}
            self._write()

    def lose(self, engine: str) -> None:
        """An engine is down, and its requests are lost, while the others go on."""
        with self._lock:
            self._lost[engine] += 1
            self._down[engine] = f"{engine} is being started again"
            self._write()

    @property
    def absent(self) -> Mapping[str, str]:
        """The engines that are not to be served, or not yet, and why."""
        with self._lock:
            return dict(self._absent)

    def count_lost(self, engine: str) -> None:
        """An engine has ended with requests that it still had, and nothing starts it again."""
        with self._lock:
            self._lost[engine] += 1
            self._write()

    def times_lost(self, engine: str) -> int:
        with self._lock:
            return self._lost[engine]

    def set_adapters(self, engine: str, states: Mapping[str, str]) -> None:
        """The adapters of an engine beside those that it was built with, and of each what it is."""
        with self._lock:
            self._adapters[engine] = dict(states)
            self._write()

    def set_absent(self, engine: str, state: str | None) -> None:
        """An engine is not to be served; None: it is."""
        with self._lock:
            self._absent.pop(engine, None)
            if state is not None:
                self._absent[engine] = state
            self._loads += 1
            self._write()

    def forget(self) -> None:
        """The server of the engines has ended, as the gateway itself can see."""
        with self._lock:
            self._stalls = {}
            self._down.clear()
            self._write()

    def bring_back(self, engine: str) -> None:
        with self._lock:
            self._down.pop(engine, None)
            self._write()

    def _write(self) -> None:
        """With the lock: all writes go through one new file."""
        stalls = {**self._stalls, **self._down}
        write_states(
            self._file, EngineStates(stalls, dict(self._lost), dict(self._absent), self._loads, self._adapters)
        )
