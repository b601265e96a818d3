"""What a sweep is after: the most of one figure among the points that keep the SLO."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bench.load.summary import Distribution, Slo
from bench.sweep.options import Objective
from bench.sweep.outcome import Outcome

# Name -> what people call it.
LATENCIES: Final[Mapping[str, str]] = {
    "ttft": "time to first token",
    "itl": "between tokens",
    "end_to_end": "end to end",
}
UNITS: Final[Mapping[Objective, str]] = {"output-tokens": "output tokens/s", "goodput": "requests/s within the SLO"}


@dataclass(frozen=True, slots=True)
class Miss:
    """One limit of the SLO that a point does not keep; `p99_ms` None could not be measured."""

    latency: str
    p99_ms: float | None
    limit_ms: float

    @property
    def excess(self) -> float:
        """Over 1; how many times the limit it is."""
        return math.inf if self.p99_ms is None else self.p99_ms / self.limit_ms if self.limit_ms else math.inf

    def __str__(self) -> str:
        shown = "unknown" if self.p99_ms is None else f"{self.p99_ms:.4g} ms"
        return f"{LATENCIES[self.latency]} p99 {shown} > {self.limit_ms:g} ms"


@dataclass(frozen=True, slots=True)
class Goal:
    """`slo` bounds the p99 of each latency; of goodput, it is also what each single request has to keep."""

    objective: Objective
    slo: Slo

    def gain(self, outcome: Outcome) -> float:
        """The objective's figure; 0 of a point that failed."""
        if outcome.measured is None:
            return 0.0
        if self.objective == "goodput":
            return self.goodput(outcome)
        return outcome.measured.summary.output_tokens_per_s or 0.0

    def goodput(self, outcome: Outcome) -> float:
        """Requests a second that are within the SLO."""
        measured = outcome.measured
        if measured is None or measured.summary.wall_s <= 0:
            return 0.0
        return sum(self.slo.allows(*latencies) for latencies in measured.latencies) / measured.summary.wall_s

    def misses(self, outcome: Outcome) -> list[Miss]:
        """Limits that a measured point does not keep."""
        if outcome.measured is None:
            return []
        found = []
        for name, limit_ms in self.limits_ms():
            p99 = p99_ms(outcome, name)
            if p99 is None or p99 > limit_ms:
                found.append(Miss(name, p99, limit_ms))
        return found

    def met_by(self, outcome: Outcome) -> bool:
        """Every request succeeded, and every limit is kept."""
        return outcome.whole and not self.misses(outcome)

    def rank(self, outcome: Outcome) -> tuple[bool, bool, float, float, float]:
        """Higher is better: points that meet the goal by their gain, then the others by how little they miss it."""
        failed = outcome.measured.summary.failed if outcome.measured else 0
        excess = max((miss.excess for miss in self.misses(outcome)), default=0.0)
        return (
            self.met_by(outcome),
            outcome.measured is not None,
            -float(failed),
            -excess,
            self.gain(outcome),
        )

    def limits_ms(self) -> Iterator[tuple[str, float]]:
        """(latency, limit) of every latency that has one."""
        for name in LATENCIES:
            limit_ms: float | None = getattr(self.slo, f"{name}_ms")
            if limit_ms is not None:
                yield name, limit_ms

    def __str__(self) -> str:
        limits = ", ".join(f"{LATENCIES[name]} p99 ≤ {limit_ms:g} ms" for name, limit_ms in self.limits_ms())
        return f"most {UNITS[self.objective]}" + (f" with {limits}" if limits else "")


def p99_ms(outcome: Outcome, latency: str) -> float | None:
    return percentile_ms(outcome, latency, 99)


def percentile_ms(outcome: Outcome, latency: str, percent: int) -> float | None:
    """None of a point that failed, and where too few requests have that time: a p99 needs 100."""
    if outcome.measured is None:
        return None
    distribution: Distribution = getattr(outcome.measured.summary, f"{latency}_s")
    seconds = distribution.percentiles[percent]
    return None if seconds is None else seconds * 1000
