"""Numbers within bounds, as texts of digits."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor
from typing import Any, Final

from triton_repo.engine.schema.automaton import Chars, Choice, Node, Repeat, Sequence, text
from triton_repo.engine.schema.grammar import NoValue
from triton_repo.engine.schema.merge import Object

_MOST_DIGITS: Final = 15  # which every reader of JSON keeps exactly
_MOST_DECIMALS: Final = 6
_FURTHEST: Final = 10**24  # of bounds: a grammar has a rule for each of their digits
_MOST_MULTIPLES: Final = 1000
_DIGIT: Final = Chars(((0x30, 0x39),))
_FRACTION: Final = Sequence((text("."), Repeat(_DIGIT, 1, _MOST_DIGITS)))

Digits = list[tuple[int, int]]  # the least and the greatest of each


def bound_of(schema: Object, keyword: str, exclusive: str, tighter: Any) -> tuple[Fraction | None, bool]:
    """A bound and whether it is open, in the words of all drafts: in the fourth one `exclusive…` is a switch."""
    closed, opened = schema.get(keyword), schema.get(exclusive)
    if isinstance(opened, bool):
        return (None if closed is None else Fraction(str(closed))), opened
    if closed is None and opened is None:
        return None, False
    if opened is None or (closed is not None and closed != opened and tighter(closed, opened) == closed):
        return Fraction(str(closed)), False
    return Fraction(str(opened)), True


def within_reach(low: Fraction | None, high: Fraction | None) -> tuple[Fraction | None, Fraction | None]:
    """The bounds, without those that are further away than any number that is written.

    Raises:
        ValueError: all that is allowed is further away.
    """
    if (low is not None and low > _FURTHEST) or (high is not None and high < -_FURTHEST):
        raise ValueError(f"numbers beyond {_FURTHEST:.0e} cannot be enforced")
    return None if low is None or low < -_FURTHEST else low, None if high is None or high > _FURTHEST else high


def nearest_within(bound: Fraction | None, is_open: bool, step: int) -> int | None:
    return None if bound is None else _nearest_to(bound, step, is_open=is_open)


def integers(low: int | None, high: int | None) -> Node:
    """The integers from `low` to `high`, None being no bound. Raises: NoValue."""
    if low is not None and high is not None and low > high:
        raise NoValue(f"no integer lies between {low} and {high}")
    return Choice(tuple(_signed(low, high)))


def numbers(low: Fraction | None, high: Fraction | None, *, open_low: bool, open_high: bool) -> Node:
    """Numbers between two bounds, of which an open one is not reached itself.

    All integers, and between two of them all decimals of some digits; where there are no two, decimals of as few digits
    as it takes.

    Raises:
        NoValue: there is none of few digits.
    """
    for scale in range(_MOST_DECIMALS + 1):
        lowest, highest = _scaled(low, 10**scale, 1, is_open=open_low), _scaled(high, 10**scale, -1, is_open=open_high)
        if lowest is None or highest is None or lowest < highest or (lowest == highest and scale == _MOST_DECIMALS):
            break
    else:
        raise NoValue(f"no number of {_MOST_DECIMALS} decimals lies between {low} and {high}")
    if scale:
        return Choice(tuple(_signed(lowest, highest, decimals=scale)))
    choices = [*_signed(lowest, highest)]
    if highest is None or highest > 0:  # 3.1 lies between 3 and 4
        least, most = max(lowest or 0, 0), None if highest is None else highest - 1
        choices += [Sequence((each, _FRACTION)) for each in _signed(least, most)]
    if lowest is None or lowest < 0:
        least, most = max(-highest, 0) if highest is not None else 0, None if lowest is None else -lowest - 1
        choices += [Sequence((text("-"), each, _FRACTION)) for each in _signed(least, most)]
    return Choice(tuple(choices))


def multiples(of: float, low: tuple[Fraction | None, bool], high: tuple[Fraction | None, bool]) -> Node:
    """Some of them: those next to the lower bound, or to 0. A bound is a number, and whether it is open."""
    step = Fraction(str(of))
    start, end = (
        nearest_within(bound and bound / step, is_open, sign) for (bound, is_open), sign in ((low, 1), (high, -1))
    )
    first = start if start is not None else min(0, end) if end is not None else 0
    last = first + _MOST_MULTIPLES if end is None else min(end, first + _MOST_MULTIPLES)
    exact = [step * count for count in range(first, last + 1)]
    whole = [text(str(value)) for value in exact if value.denominator == 1 and abs(value) <= _FURTHEST]
    if not whole:
        raise ValueError(f"multipleOf = {str(of)[:40]} cannot be enforced")
    return Choice(tuple(whole))


def _nearest_to(bound: Fraction, step: int, *, is_open: bool) -> int:
    """The integer next to a bound on the side of `step`, 1 or -1."""
    found = ceil(bound) if step > 0 else floor(bound)
    return found + step if is_open and found == bound else found


def _scaled(bound: Fraction | None, factor: int, step: int, *, is_open: bool) -> int | None:
    return None if bound is None else _nearest_to(bound * factor, step, is_open=is_open)


def _signed(low: int | None, high: int | None, decimals: int = 0) -> Iterator[Node]:
    """Of integers, or of those with a point before the last digits."""
    if low is None or low < 0:
        closest = 1 if high is None or high >= 0 else -high
        for digits in _magnitudes(closest, None if low is None else -low, decimals + 1):
            yield Sequence((text("-"), _written(digits, decimals)))
    if high is None or high >= 0:
        for digits in _magnitudes(max(low or 0, 0), high, decimals + 1):
            yield _written(digits, decimals)


def _written(digits: Digits, decimals: int) -> Node:
    nodes: list[Node] = [Chars(((0x30 + low, 0x30 + high),)) for low, high in digits]
    if decimals:
        nodes.insert(len(nodes) - decimals, text("."))
    return Sequence(tuple(nodes))


def _magnitudes(low: int, high: int | None, least_digits: int) -> Iterator[Digits]:
    """Of numbers ≥ 0, without leading zeros beyond `least_digits`."""
    top = 10 ** max(_MOST_DIGITS, len(str(low)) + 1) - 1 if high is None else high
    for length in range(max(len(str(low)), least_digits), max(len(str(top)), least_digits) + 1):
        first = max(low, 0 if length <= least_digits else 10 ** (length - 1))
        last = min(top, 10**length - 1)
        if first <= last:
            yield from _between(f"{first:0{length}}", f"{last:0{length}}")


def _between(low: str, high: str) -> Iterator[Digits]:
    """All numbers from `low` to `high`, of as many digits as both have."""
    if not low:
        yield []
        return
    first, last, rest = int(low[0]), int(high[0]), len(low) - 1
    if first == last:
        yield from ([(first, first), *digits] for digits in _between(low[1:], high[1:]))
        return
    if low[1:].strip("0"):
        yield from ([(first, first), *digits] for digits in _between(low[1:], "9" * rest))
        first += 1
    tail = high[1:].strip("9")
    if tail:
        last -= 1
    if first <= last:
        yield [(first, last), *[(0, 9)] * rest]
    if tail:
        yield from ([(last + 1, last + 1), *digits] for digits in _between("0" * rest, high[1:]))
