"""Bar 3: what one request costs in time beside its engine: one token through the replay engine at full speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench.bars.engines import FAST
from bench.bars.finding import Finding, milliseconds
from bench.bars.replay import closed_loop, workload
from bench.load import Bounds, OpenLoop
from bench.run import Plan, execute, run
from bench.server import Server, build, serving

REQUESTS: Final = {1: 500, 32: 3000}  # by how many at a time
RATE: Final = 200  # requests a second, well below what the closed loops reach
ARRIVALS: Final = 2000
TARGETS_MS: Final = {50: 4.0, 99: 12.0}  # by percentile


def measure() -> Iterator[Finding]:
    build(FAST)
    with serving(FAST) as server:
        for concurrency in REQUESTS:
            yield from one_token(server, concurrency)
        yield from arriving(server)


def one_token(server: Server, concurrency: int) -> Iterator[Finding]:
    load = workload("replay-fast", 1)
    summary = closed_loop(server, load, concurrency, REQUESTS[concurrency])
    cpu_ms = milliseconds((summary.server_cpu_s or 0.0) / summary.succeeded)
    details = {"requests_per_s": summary.requests_per_s, "server_cpu_ms_per_request": cpu_ms}
    for percent, target in TARGETS_MS.items():
        measured = milliseconds(summary.end_to_end_s.percentiles[percent])
        what = f"one token, {concurrency} at a time ({summary.requests_per_s:,.0f} requests/s), p{percent}"
        yield Finding(3, what, measured, "ms", "≤", target, details)


def arriving(server: Server) -> Iterator[Finding]:
    """The same without a queue of its own making: 32 clients with no pause keep any server full."""
    summary = execute(run(Plan(server.target, workload("replay-fast", 1), Bounds(ARRIVALS), warmup=8), OpenLoop(RATE)))
    for percent in TARGETS_MS:
        measured = milliseconds(summary.end_to_end_s.percentiles[percent])
        yield Finding(3, f"one token, {RATE} Poisson arrivals / s, p{percent}", measured, "ms")
