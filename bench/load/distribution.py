"""Lengths in tokens, drawn by a law that one word on the command line names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from triton_repo.contract.errors import BenchError

GRAMMAR: Final = "N, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA"


class Lengths(Protocol):
    """A law of lengths; every draw is at least 1."""

    def draw(self, random: Random) -> int: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    tokens: int

    def draw(self, _: Random) -> int:
        return self.tokens


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every length from `low` to `high`, both included, is equally likely."""

    low: int
    high: int

    def draw(self, random: Random) -> int:
        return random.randint(self.low, self.high)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Half of the lengths are above `median`; `sigma` is the deviation of their natural logarithm."""

    median: float
    sigma: float

    def draw(self, random: Random) -> int:
        return max(1, round(random.lognormvariate(math.log(self.median), self.sigma)))


def parse_lengths(option: str, text: str) -> Lengths:
    """The law that `text` names.

    Raises:
        BenchError: names the option, the value and what is allowed.
    """
    law, *numbers = text.split(":")
    try:
        match law, [float(number) for number in numbers]:
            case "uniform", [low, high] if 1 <= low <= high and low.is_integer() and high.is_integer():
                return Uniform(int(low), int(high))
            case "lognormal", [median, sigma] if 1 <= median < math.inf and 0 <= sigma < math.inf:
                return LogNormal(median, sigma)
            case _, [] if int(law) >= 1:
                return Fixed(int(law))
    except ValueError:  # not a number: the complaint below says what is allowed
        pass
    raise BenchError(f"{option} = {text!r}; allowed: {GRAMMAR}, with lengths of at least 1")
