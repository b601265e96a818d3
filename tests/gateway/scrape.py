"""A gateway's /metrics, read as Prometheus reads it."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
_WAIT_S = 120


def scrape(url: str) -> Series:
    response = httpx.get(f"{url}/metrics")
    assert response.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    """The sum of the series with these labels, whatever others they have; 0 if there is none."""
    wanted = labels.items()
    return sum(count for (found, has), count in series.items() if found == name and wanted <= dict(has).items())


def requests(series: Series) -> dict[tuple[str, ...], float]:
    """Finished requests by endpoint, model, status and finish reason."""
    order = ("endpoint", "model", "status", "finish_reason")
    return {
        tuple(dict(labels)[label] for label in order): count
        for (name, labels), count in series.items()
        if name == "conch_requests_total"
    }


def scrape_until(url: str, condition: Callable[[Series], object]) -> Series:
    """A request is observed once its last byte is out, so a client can ask before."""
    deadline = time.monotonic() + _WAIT_S
    while not condition(series := scrape(url)):
        assert time.monotonic() < deadline, series
        time.sleep(0.02)
    return series
