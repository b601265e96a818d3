"""Bounds on what rendering one prompt may take: CPU time, and the length of the texts that a template makes.

A template is code from a checkpoint, and some public ones take time that grows with the square of the messages. Loops
and calls count down a clock; what is added, joined and replaced is measured before it is made.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from jinja2.exceptions import SecurityError

MAX_LENGTH: Final = 1 << 24  # characters or elements that one operation may make
_TICKS: Final = 16  # between two looks at the clock, each of which costs 0.5 µs; a step may filter all messages


class RenderTimeout(Exception):
    """A template took longer than it may."""


class _Clock:
    def __init__(self, limit_s: float) -> None:
        self._end_s = time.thread_time() + limit_s
        self._ticks = _TICKS

    def tick(self) -> None:
        self._ticks -= 1
        if self._ticks <= 0:
            self._ticks = _TICKS
            if time.thread_time() > self._end_s:
                raise RenderTimeout


_CLOCK: Final[ContextVar[_Clock | None]] = ContextVar("clock", default=None)


@contextmanager
def cpu_time_limit(limit_s: float) -> Iterator[None]:
    """Bound the CPU time of the renderings in the block. Raises: RenderTimeout: they took more."""
    token = _CLOCK.set(_Clock(limit_s))
    try:
        yield
    finally:
        _CLOCK.reset(token)


def tick() -> None:
    """One step of a template."""
    clock = _CLOCK.get()
    if clock is not None:
        clock.tick()


class Ticking:
    """What a template loops over, with a step of its clock for each element."""

    __slots__ = ("_values",)

    def __init__(self, values: Any) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        clock = _CLOCK.get()
        if clock is None:
            return iter(self._values)
        return _ticking(self._values, clock)


def _ticking(values: Iterable[Any], clock: _Clock) -> Iterator[Any]:
    tick = clock.tick
    for value in values:
        tick()
        yield value


def check_length(length: int, operation: str) -> None:
    if length > MAX_LENGTH:
        raise SecurityError(f"the result of {operation} would be longer than {MAX_LENGTH}")


def concatenated(values: Iterable[Any]) -> str:
    """`a ~ b ~ c`."""
    texts = [str(value) for value in values]
    check_length(sum(map(len, texts)), "~")
    return "".join(texts)


def check_join(separator: str, values: Iterable[Any]) -> list[Any]:
    """The values, if joining them makes no text that is too long."""
    listed = list(values)
    texts = sum(len(value) for value in listed if isinstance(value, str))
    check_length(texts + len(separator) * len(listed), "join")
    return listed


def check_replace(text: str, old: Any, new: Any) -> None:
    if isinstance(old, str) and isinstance(new, str) and len(new) > len(old):
        check_length(len(text) + text.count(old) * (len(new) - len(old)), "replace")
