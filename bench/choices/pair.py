"""Two sides of a choice, wave by wave in turn, so that whatever else the machine does hits both alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from bench.choices.choice import Choice, Side
from bench.choices.loads import Load
from bench.choices.wave import Driver, Wave

Figure = Callable[[Wave], float | None]
FIGURES: Final[dict[str, Figure]] = {
    "tokens_per_s": lambda wave: wave.tokens_per_s,
    "ttft_ms": lambda wave: wave.ttft_ms,
    "gap_p99_ms": lambda wave: wave.gap_p99_ms,
    "tokens_per_arrival": lambda wave: wave.tokens_per_arrival,
}


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure on both sides: medians, and of the rounds' ratios (other / usual) the median, least and greatest."""

    usual: float
    other: float
    ratio: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a choice does to one load; a figure that a wave is too small for is left out."""

    choice: Choice
    load: str
    figures: dict[str, Compared]

    def to_json(self) -> dict[str, Any]:
        return {
            "choice": self.choice.name,
            "setting": self.choice.setting,
            "usual": self.choice.usual.label,
            "other": self.choice.other.label,
            "load": self.load,
            "figures": {
                name: {key: getattr(figure, key) for key in Compared.__slots__} for name, figure in self.figures.items()
            },
        }


def compare(choice: Choice, built: Path, rounds: int) -> Iterator[Result]:
    """Open both sides and try each load on them."""
    usual, other = _open(built, choice.usual), _open(built, choice.other)
    for name, load in choice.loads.items():
        yield Result(choice, name, _figures(_waves(usual, other, load, rounds)))


def _open(built: Path, side: Side) -> Driver:
    return Driver(built / side.engine, dict(side.settings))


def _waves(usual: Driver, other: Driver, load: Load, rounds: int) -> list[tuple[Wave, Wave]]:
    """The waves of both sides, round by round; the first one warms up and does not count."""
    waves = []
    for number in range(rounds + 1):
        work = load(Random(number), usual.answers)  # noqa: S311 - repeatable is what it must be
        if number % 2:
            first = usual.wave(work)
            waves.append((first, other.wave(work)))
        else:
            second = other.wave(work)
            waves.append((usual.wave(work), second))
    return waves[1:]


def _figures(waves: Sequence[tuple[Wave, Wave]]) -> dict[str, Compared]:
    compared = {}
    for name, figure in FIGURES.items():
        pairs = [(mine, theirs) for usual, other in waves if (mine := figure(usual)) and (theirs := figure(other))]
        if pairs:
            ratios = [theirs / mine for mine, theirs in pairs]
            compared[name] = Compared(
                usual=statistics.median(mine for mine, _ in pairs),
                other=statistics.median(theirs for _, theirs in pairs),
                ratio=statistics.median(ratios),
                least=min(ratios),
                greatest=max(ratios),
            )
    return compared
