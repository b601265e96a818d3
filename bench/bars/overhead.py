"""Bar 3: what one request costs in time beside its engine: one token through the replay engine at full speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from bench.bars.engines import FAST
from bench.bars.finding import Finding, milliseconds
from bench.bars.replay import closed_loop, workload
from bench.load.generator import Bounds, OpenLoop
from bench.load.run import Plan, execute, run
from bench.load.summary import Summary
from bench.server import Server, build, serving

REQUESTS: Final = {1: 500, 32: 3000}  # by how many at a time
ARRIVALS: Final = {20: 200, 200: 2000}  # by requests a second, all well below what the closed loops reach
TARGETS_MS: Final = {50: 4.0, 99: 12.0}  # by percentile


def measure() -> Iterator[Finding]:
    build(FAST)
    with serving(FAST) as server:
        for concurrency in REQUESTS:
            yield from one_token(server, concurrency)
        for rate in ARRIVALS:
            yield from arriving(server, rate)


def one_token(server: Server, concurrency: int) -> Iterator[Finding]:
    summary = closed_loop(server, workload("replay-fast", 1), concurrency, REQUESTS[concurrency])
    what = f"one token, {concurrency} at a time ({summary.requests_per_s:,.0f} requests/s)"
    return findings(what, summary, TARGETS_MS)


def arriving(server: Server, rate: int) -> Iterator[Finding]:
    """The same without a queue of its own making: 32 clients with no pause keep any server full.

    At a low rate it shows what a request costs that finds nothing of what it needs in a cache.
    """
    plan = Plan(server.target, workload("replay-fast", 1), Bounds(ARRIVALS[rate]), warmup=8, cpu_of=[server.pid])
    return findings(f"one token, {rate} Poisson arrivals / s", execute(run(plan, OpenLoop(rate))), {})


def findings(what: str, summary: Summary, targets_ms: Mapping[int, float]) -> Iterator[Finding]:
    cpu_s = (summary.server_cpu_s or 0.0) / summary.succeeded
    details = {"requests_per_s": summary.requests_per_s, "server_cpu_ms_per_request": milliseconds(cpu_s)}
    for percent in TARGETS_MS:
        measured = milliseconds(summary.end_to_end_s.percentiles[percent])
        yield Finding(3, f"{what}, p{percent}", measured, "ms", "≤", targets_ms.get(percent), details)
