"""Coordinate descent: fewer measurements than the whole grid, and no promise to find its best point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bench.sweep.grid import Axis, Settings


class Score(Protocol):
    """Higher is better."""

    def __gt__(self, other: Any, /) -> bool: ...


def descend(start: Settings, axes: Sequence[Axis], score: Callable[[Settings], Score]) -> Settings:
    """Settings that no change of a single axis betters.

    One axis after the other, all its values are tried with the others at the best so far; again from the first
    axis, until a whole round changes nothing. `score` is asked for the same settings more than once.
    """
    best, best_score = start, score(start)
    while True:
        before = best
        for axis in axes:
            for value in axis.values:
                tried = {**best, axis.key: value}
                if (tried_score := score(tried)) > best_score:
                    best, best_score = tried, tried_score
        if best is before:
            return best
