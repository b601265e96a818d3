"""One scrape of /metrics as numbers, and the quantiles of its histograms as Prometheus computes them."""

from __future__ import annotations

import math
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from triton_repo.contract.errors import BenchError

_TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = 16 * 2**20

Buckets = Mapping[float, float]
"""Cumulative counts by upper bound, that of all is infinity."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """`values` by series and model, added up over all other labels; `buckets` of histograms likewise."""

    values: Mapping[tuple[str, str], float]
    buckets: Mapping[tuple[str, str], Buckets]

    @property
    def models(self) -> list[str]:
        return sorted({model for _, model in (*self.values, *self.buckets) if model})


def read(text: str) -> Scrape:
    """
    Raises:
        BenchError: the text is not in Prometheus' format.
    """
    values: defaultdict[tuple[str, str], float] = defaultdict(float)
    buckets: defaultdict[tuple[str, str], defaultdict[float, float]] = defaultdict(lambda: defaultdict(float))
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name + _state(sample.labels), sample.labels.get("model", ""))
                if "le" in sample.labels:
                    buckets[key][float(sample.labels["le"])] += sample.value
                else:
                    values[key] += sample.value
    except ValueError as error:
        raise BenchError(f"these are no metrics: {error}") from error
    return Scrape(dict(values), {key: dict(counts) for key, counts in buckets.items()})


def _state(labels: Mapping[str, str]) -> str:
    """That of an engine's requests tells them apart: `name:running`."""
    return f":{labels['state']}" if "state" in labels else ""


def scrape(url: str) -> Scrape:
    """
    Raises:
        BenchError: nothing answers at this base URL, or not with metrics.
    """
    address = url.rstrip("/").removesuffix("/v1") + "/metrics"
    if not address.startswith(("http://", "https://")):
        raise BenchError(f"{url} is no URL of a server: it must begin with http:// or https://")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as response:  # noqa: S310 - checked above
            return read(response.read(_MAX_BYTES).decode())
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{address} has no metrics to read: {error}") from error


def since(now: Buckets, before: Buckets | None) -> Buckets:
    """What was counted between two scrapes; all of it where the server was started again in between."""
    if before is None or any(now.get(bound, 0) < count for bound, count in before.items()):
        return now
    return {bound: count - before.get(bound, 0) for bound, count in now.items()}


def quantile(q: float, buckets: Buckets) -> float:
    """As `histogram_quantile`: linear within a bucket; NaN of nothing; beyond the last bound, that bound."""
    bounds = sorted(buckets)
    if not bounds or bounds[-1] != math.inf or not buckets[math.inf]:
        return math.nan
    rank, below, lower = q * buckets[math.inf], 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank:
            if bound == math.inf:
                return lower if len(bounds) > 1 else math.nan
            if lower == 0 and bound <= 0:
                return bound
            return lower + (bound - lower) * ((rank - below) / (count - below) if count > below else 1.0)
        below, lower = count, bound
    return math.nan
