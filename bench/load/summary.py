"""From records to figures. A figure that the records do not carry is None, never a guess."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from bench.load.answer import Record

PERCENTS: Final = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Slo:
    """What a request must keep to be of use; None asks for nothing. Milliseconds, as on the command line."""

    ttft_ms: float | None = None
    itl_ms: float | None = None
    end_to_end_ms: float | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.ttft_ms, self.itl_ms, self.end_to_end_ms))

    def met_by(self, record: Record) -> bool:
        """A failed request meets nothing."""
        return record.error is None and self.allows(record.ttft_s, record.itl_s, record.end_to_end_s)

    def allows(self, ttft_s: float | None, itl_s: float | None, end_to_end_s: float) -> bool:
        """Whether an answer with these times is within it; the inter-token time of a single token (None) is."""
        return (
            _within(ttft_s, self.ttft_ms, math.inf)
            and _within(itl_s, self.itl_ms, 0.0)
            and _within(end_to_end_s, self.end_to_end_ms, math.inf)
        )


@dataclass(frozen=True, slots=True)
class Distribution:
    """Mean and percentiles of a sample; a percentile that the sample is too small for is None."""

    count: int
    mean: float | None
    percentiles: Mapping[int, float | None]

    @classmethod
    def of(cls, values: Iterable[float]) -> Distribution:
        ordered = sorted(values)
        mean = math.fsum(ordered) / len(ordered) if ordered else None
        return cls(len(ordered), mean, {percent: percentile(ordered, percent) for percent in PERCENTS})


@dataclass(frozen=True, slots=True)
class Summary:
    """One run. Times are seconds; latencies are those of the requests that succeeded.

    `*_per_s` are over `wall_s`, from the first request's start to the last one's end. `gap_s` is between two chunks,
    `itl_s` between two tokens, as the mean of each request. `goodput_per_s` counts requests within the SLO.
    """

    name: str
    wall_s: float
    succeeded: int
    failed: int
    errors: Mapping[str, int]
    ttft_s: Distribution
    itl_s: Distribution
    gap_s: Distribution
    end_to_end_s: Distribution
    requests_per_s: float
    prompt_tokens: int | None
    completion_tokens: int | None
    output_tokens_per_s: float | None
    goodput_per_s: float | None
    client_cpu_share: float | None = None
    server_cpu_s: float | None = None

    @property
    def server_cpu_s_per_token(self) -> float | None:
        if self.server_cpu_s is None or not self.completion_tokens:
            return None
        return self.server_cpu_s / self.completion_tokens


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The nearest-rank percentile of sorted values: one of them, not a mean of two.

    None unless at least one value lies beyond it: p50 needs 2 values, p90 needs 10, p99 needs 100.
    """
    share = Fraction(percent, 100)
    if len(ordered) * (1 - share) < 1:
        return None
    return ordered[math.ceil(len(ordered) * share) - 1]


def summarize(
    name: str,
    records: Sequence[Record],
    slo: Slo | None = None,
    client_cpu_s: float | None = None,
    server_cpu_s: float | None = None,
) -> Summary:
    good = [record for record in records if record.error is None]
    errors = Counter(record.error for record in records if record.error is not None)
    wall_s = max(record.end_s for record in records) - min(record.start_s for record in records) if records else 0.0
    completion_tokens = _total(record.completion_tokens for record in good)
    return Summary(
        name=name,
        wall_s=wall_s,
        succeeded=len(good),
        failed=len(records) - len(good),
        errors=dict(errors.most_common()),
        ttft_s=Distribution.of(record.ttft_s for record in good if record.ttft_s is not None),
        itl_s=Distribution.of(record.itl_s for record in good if record.itl_s is not None),
        gap_s=Distribution.of(gap for record in good for gap in record.gaps_s),
        end_to_end_s=Distribution.of(record.end_to_end_s for record in good),
        requests_per_s=_per(len(good), wall_s) or 0.0,
        prompt_tokens=_total(record.prompt_tokens for record in good),
        completion_tokens=completion_tokens,
        output_tokens_per_s=_per(completion_tokens, wall_s),
        goodput_per_s=_per(sum(map(slo.met_by, records)), wall_s) if slo else None,
        client_cpu_share=_per(client_cpu_s, wall_s),
        server_cpu_s=server_cpu_s,
    )


def _within(value_s: float | None, limit_ms: float | None, without: float) -> bool:
    return limit_ms is None or (without if value_s is None else value_s * 1000) <= limit_ms


def _total(counts: Iterable[int | None]) -> int | None:
    """None as soon as one count is unknown, or there is none."""
    known = list(counts)
    return sum(count for count in known if count is not None) if known and None not in known else None


def _per(amount: float | None, seconds: float) -> float | None:
    return None if amount is None or seconds <= 0 else amount / seconds
