"""What is swept: keys of an engine spec, each with the values to try, in every combination."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from triton_repo.contract.errors import BenchError

Value = bool | int | float | str | None
Settings = Mapping[str, Value]  # key of the spec ("serve.num_threads") -> value; None is what an absent key means


@dataclass(frozen=True, slots=True)
class Axis:
    """One key and the values that are tried."""

    key: str
    values: tuple[Value, ...]

    def with_own(self, own: Value) -> Axis:
        """The same with the spec's own value among them."""
        return self if own in self.values else replace(self, values=(own, *self.values))


def parse_axes(texts: Sequence[str], known: Collection[str]) -> tuple[Axis, ...]:
    """The axes of `--vary KEY=VALUE,VALUE…`; a value is JSON, or a word that stands for itself.

    Raises:
        BenchError: a text is not of that form, or its key is not among the `known` or comes twice.
    """
    axes = tuple(_axis(text, known) for text in texts)
    keys = [axis.key for axis in axes]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise BenchError(f"--vary {twice[0]} is given twice; give all its values in one: {twice[0]}=1,2,3")
    return axes


def _axis(text: str, known: Collection[str]) -> Axis:
    key, _, listed = text.partition("=")
    words = [word.strip() for word in listed.split(",")]
    if key not in known:
        raise BenchError(f"--vary {text}: {key!r} is no key that can be varied; allowed: {', '.join(known)}")
    if not all(words):
        raise BenchError(f"--vary {text}: must be {key}=VALUE,VALUE,… with no empty value")
    return Axis(key, tuple(_value(word) for word in dict.fromkeys(words)))


def _value(word: str) -> Value:
    try:
        value = json.loads(word)
    except json.JSONDecodeError:
        return word
    return value if value is None or isinstance(value, bool | int | float | str) else word


def combinations(axes: Sequence[Axis]) -> Iterator[Settings]:
    """Every combination; the last axis changes fastest. One empty combination of no axes."""
    for values in itertools.product(*(axis.values for axis in axes)):
        yield {axis.key: value for axis, value in zip(axes, values, strict=True)}


def check_size(axes: Sequence[Axis], levels: int, max_points: int) -> None:
    """BenchError for a grid with nothing to compare, or with more points than `max_points`.

    A point is one combination under one of the `levels` of load.
    """
    points = math.prod(len(axis.values) for axis in axes) * levels
    if points < 2:
        raise BenchError("there is nothing to sweep: give --vary KEY=VALUE,VALUE, or several --concurrency")
    if points > max_points:
        sizes = " × ".join(str(size) for size in (*(len(axis.values) for axis in axes), levels))
        size = f"the grid has {points:,} points ({sizes})"
        raise BenchError(f"{size}; --max-points = {max_points}: vary less, or allow more")


def label(settings: Settings) -> str:
    """The settings in one line, as on the command line."""
    shown = (f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items())
    return ", ".join(shown) or "the spec's own settings"
