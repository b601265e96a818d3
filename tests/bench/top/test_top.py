"""`conch top`: quantiles as Prometheus computes them, and a table of a real server."""

from __future__ import annotations

import json
import math
import subprocess

import httpx
import pytest

from bench.top.exposition import quantile, read, scrape, since
from bench.top.rows import rows
from tests.conftest import CONCH, Stack
from tests.gateway.bodies import CHAT, HELLO
from triton_repo.contract.errors import BenchError

INF = math.inf


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        (0.5, {0.1: 0, 0.2: 10, INF: 10}, 0.15),  # half of the way through the one bucket that has any
        (0.5, {0.1: 10, INF: 10}, 0.05),  # from 0 below the first bound
        (0.9, {1.0: 5, 2.0: 10, INF: 10}, 1.8),
        (0.99, {1.0: 5, INF: 10}, 1.0),  # beyond the last bound: that bound
        (0.5, {1.0: 0, INF: 0}, math.nan),
        (0.5, {}, math.nan),
        (0.5, {1.0: 4}, math.nan),  # without a bucket of all it is no histogram
        (0.5, {INF: 4}, math.nan),
        (1.0, {1.0: 4, 2.0: 4, INF: 4}, 1.0),
    ],
)
def test_a_quantile_is_what_prometheus_says(q: float, buckets: dict[float, float], expected: float) -> None:
    assert quantile(q, buckets) == pytest.approx(expected, nan_ok=True)


def test_what_is_counted_between_two_looks_and_after_a_restart() -> None:
    assert since({1.0: 5, INF: 9}, {1.0: 2, INF: 3}) == {1.0: 3, INF: 6}
    assert since({1.0: 1, INF: 1}, {1.0: 2, INF: 3}) == {1.0: 1, INF: 1}
    assert since({1.0: 1, INF: 1}, None) == {1.0: 1, INF: 1}


TEXT = """\
# TYPE conch_time_to_first_token_seconds histogram
conch_time_to_first_token_seconds_bucket{le="0.1",model="m",version="1"} %d
conch_time_to_first_token_seconds_bucket{le="0.1",model="m",version="2"} 0
conch_time_to_first_token_seconds_bucket{le="+Inf",model="m",version="1"} %d
# TYPE conch_completion_tokens_total counter
conch_completion_tokens_total{model="m"} %d
# TYPE conch_engine_requests gauge
conch_engine_requests{model="m",state="running"} 3
conch_engine_requests{model="m",state="waiting"} 1
# TYPE conch_requests_waiting gauge
conch_requests_waiting{model="m"} 4
"""


def test_a_row_has_rates_of_the_time_between_and_both_queues() -> None:
    before, now = read(TEXT % (1, 1, 100)), read(TEXT % (5, 5, 300))
    (row,) = rows(now, before, 4.0)
    assert row.tokens_per_s == 50
    assert (row.running, row.waiting, row.kv_cache) == (3, 5, None)
    assert row.first_token_s == pytest.approx((0.05, 0.095, 0.099))
    assert row.inter_token_s == (None, None, None)


def test_what_has_no_metrics_is_named() -> None:
    with pytest.raises(BenchError, match=r"http://127.0.0.1:1/metrics has no metrics to read"):
        scrape("http://127.0.0.1:1/v1")
    with pytest.raises(BenchError, match="no URL of a server"):
        scrape("file:///etc/passwd")
    with pytest.raises(BenchError, match="no metrics"):
        read("<html>{")


def test_the_command_shows_a_running_server(stack: Stack) -> None:
    httpx.post(stack.gateway + CHAT, json={"model": "replay", "messages": [HELLO], "max_tokens": 8, "stream": True})
    argv = [str(CONCH), "top", stack.gateway, "--interval", "0.1"]
    shown = json.loads(subprocess.run([*argv, "--json"], check=True, capture_output=True, text=True).stdout)
    replay = next(row for row in shown if row["model"] == "replay")
    assert all(value is not None for value in replay["first_token_s"] + replay["inter_token_s"] + replay["whole_s"])
    table = subprocess.run([*argv, "--once"], check=True, capture_output=True, text=True).stdout
    assert "replay" in table
    assert "demo" in table
