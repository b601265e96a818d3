"""What requests leave in counters and histograms. A request is observed once, at its end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from gateway.catalog.resolution import Resolution
from gateway.metrics import table
from gateway.metrics.table import Series
from gateway.settings import METRICS_DIRECTORY_VARIABLE

disable_created_metrics()  # times of creation double the series, and several processes cannot have them


class Histogram(prometheus_client.Histogram):
    """One that also takes many observations at once."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """`counts` by bucket, the one without a bound last; `total` is the sum of what they count."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class Served(NamedTuple):
    """Which engine answers: its labels. `version` and `arm` as the catalog resolved the name that the client sent."""

    model: str
    version: str = "1"
    arm: str = ""


def served_by(engine: str, resolution: Resolution | None) -> Served:
    """The labels of what a client's name for a model was resolved to."""
    if resolution is None:
        return Served(engine)
    return Served(resolution.name, str(resolution.version), resolution.arm)


NOT_SERVED: Final = Served("", "")


class OfEngine:
    """The series of one engine; looking up a label costs as much as observing."""

    def __init__(self, recorder: Recorder, served: Served) -> None:
        def counter(series: Series) -> Counter:
            return recorder.counters[series].labels(*served)

        def histogram(series: Series) -> Histogram:
            return recorder.histograms[series].labels(*served)

        self.prompt_tokens = counter(table.PROMPT_TOKENS)
        self.completion_tokens = counter(table.COMPLETION_TOKENS)
        self.cached_tokens = counter(table.CACHED_TOKENS)
        self.first_token = histogram(table.FIRST_TOKEN)
        self.inter_token = histogram(table.INTER_TOKEN)
        self.token = histogram(table.TOKEN)
        self.duration = histogram(table.DURATION)
        self.queue = histogram(table.QUEUE)
        self.prompt_length = histogram(table.PROMPT_LENGTH)
        self.completion_length = histogram(table.COMPLETION_LENGTH)


class Recorder:
    """The series of one application; of all processes of the gateway where METRICS_DIRECTORY_VARIABLE is set.

    Each process then writes files of its own, which `collector` reads together: it is whole whichever process is asked.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.collector: Collector = registry
        shared = METRICS_DIRECTORY_VARIABLE in os.environ
        if shared:
            MultiProcessCollector(registry)
        own = None if shared else registry
        self.counters: dict[Series, Counter] = {}
        self.histograms: dict[Series, Histogram] = {}
        for series in table.RECORDED:
            if series.kind == "counter":
                self.counters[series] = Counter(series.name, series.help, series.labels, registry=own)
            else:
                self.histograms[series] = Histogram(
                    series.name, series.help, series.labels, registry=own, buckets=series.buckets
                )
        self.of_engine = cache(lambda served: OfEngine(self, served))

    def count_end(self, endpoint: str, served: Served, status: str, finish_reason: str) -> None:
        self.counters[table.REQUESTS].labels(endpoint, *served, status, finish_reason).inc()

    def count_rejected(self, served: Served, reason: str) -> None:
        self.counters[table.REJECTED].labels(*served, reason).inc()
