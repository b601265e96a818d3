"""What `conch top` shows of each model: latencies, rates and load, from two scrapes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from bench.top.exposition import Buckets, Scrape, quantile, since

QUANTILES: Final = (0.5, 0.95, 0.99)
_FIRST: Final = "conch_time_to_first_token_seconds_bucket"
_BETWEEN: Final = "conch_inter_token_latency_seconds_bucket"
_WHOLE: Final = "conch_request_duration_seconds_bucket"


@dataclass(frozen=True, slots=True)
class Row:
    """One model; latencies in seconds at QUANTILES, None where nothing was measured."""

    model: str
    first_token_s: tuple[float | None, ...]
    inter_token_s: tuple[float | None, ...]
    whole_s: tuple[float | None, ...]
    requests_per_s: float
    tokens_per_s: float
    running: float
    waiting: float
    kv_cache: float | None

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def rows(now: Scrape, before: Scrape | None, elapsed_s: float, *, all_since_start: bool = False) -> list[Row]:
    """
    Args:
        before: what the rates, and the latencies unless `all_since_start`, are counted from; None: the start.
        elapsed_s: between the two.
    """

    def latencies(model: str, series: str) -> tuple[float | None, ...]:
        counted: Buckets = now.buckets.get((series, model), {})
        earlier = before.buckets.get((series, model)) if before is not None else None
        chosen = counted if all_since_start else since(counted, earlier)
        return tuple(None if math.isnan(value) else value for value in (quantile(q, chosen) for q in QUANTILES))

    def rate(model: str, series: str) -> float:
        if before is None or elapsed_s <= 0:
            return 0.0
        return max(0.0, _value(now, series, model) - _value(before, series, model)) / elapsed_s

    return [
        Row(
            model,
            latencies(model, _FIRST),
            latencies(model, _BETWEEN),
            latencies(model, _WHOLE),
            rate(model, "conch_requests_total"),
            rate(model, "conch_completion_tokens_total"),
            _value(now, "conch_engine_requests:running", model),
            _value(now, "conch_requests_waiting", model) + _value(now, "conch_engine_requests:waiting", model),
            now.values.get(("conch_engine_kv_cache_utilization", model)),
        )
        for model in _models(now)
    ]


def _models(now: Scrape) -> list[str]:
    """Those that the gateway serves, or has answered for; Triton's steps are none."""
    names = ("conch_engine_up", "conch_completion_tokens_total")
    return sorted({model for name, model in now.values if name in names and model})


def _value(scrape: Scrape, series: str, model: str) -> float:
    values: Mapping[tuple[str, str], float] = scrape.values
    return values.get((series, model), 0.0)
