"""Bounds on what rendering one prompt may take: CPU time, and the size of what a template makes.

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

# One operation makes no more than this: the output is bounded only between two pieces.
MAX_LENGTH: Final = 1 << 24  # characters or elements
_MAX_BITS: Final = 1 << 16  # of a number
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


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Raises: SecurityError: the result of +, * or ** would be too large."""
    if operator == "+" and not _may_add(left, right):
        raise SecurityError(f"the result of + would be longer than {MAX_LENGTH}")
    if operator == "*" and not _may_multiply(left, right):
        raise SecurityError(f"the result of * would be longer than {MAX_LENGTH}")
    if operator == "**" and not _may_raise(left, right):
        raise SecurityError(f"the result of ** would have more than {_MAX_BITS} bits")


def _may_add(left: Any, right: Any) -> bool:
    if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        return len(left) + len(right) <= MAX_LENGTH
    return True


def _may_multiply(left: Any, right: Any) -> bool:
    if isinstance(left, int) and isinstance(right, int):
        return left.bit_length() + right.bit_length() <= _MAX_BITS
    for one, other in ((left, right), (right, left)):
        if isinstance(one, int) and isinstance(other, str | list | tuple):
            return one * len(other) <= MAX_LENGTH
    return True


def _may_raise(base: Any, exponent: Any) -> bool:
    if not (isinstance(base, int) and isinstance(exponent, int)):
        return True
    return base.bit_length() * abs(exponent) <= _MAX_BITS
