"""How fast an engine works while requests wait for it."""

from __future__ import annotations

import math
from typing import Final

_MEMORY_S: Final = 10.0


class DrainRate:
    """The mean of the last seconds in which something waited; before so much is known, none.

    Args:
        min_ends: how many must have ended: those that began together also end together, after a while without any.
    """

    def __init__(self, min_ends: int) -> None:
        self.min_ends = min_ends
        self._num_ends = 0
        self._cost = self._seconds = 0.0
        self._since_s: float | None = None

    @property
    def per_s(self) -> float | None:
        return self._cost / self._seconds if self._num_ends >= self.min_ends and self._seconds > 0 else None

    def busy(self, is_busy: bool, now_s: float) -> None:
        """Whether something waits, from now on."""
        if not is_busy:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s

    def ended(self, cost: int, now_s: float) -> None:
        if self._since_s is None:
            return
        passed_s, self._since_s = now_s - self._since_s, now_s
        kept = math.exp(-passed_s / _MEMORY_S)
        self._cost = self._cost * kept + cost
        self._seconds = self._seconds * kept + passed_s
        self._num_ends += 1
