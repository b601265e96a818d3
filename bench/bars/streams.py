"""Bar 4: a thousand streams at once: they all end whole, cost little memory, and the gateway still answers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.bars.finding import Finding, milliseconds
from bench.bars.replay import workload
from bench.child_server import ROOT
from bench.load.generator import Bounds, ClosedLoop, OpenLoop
from bench.load.run import Plan, execute, run
from bench.load.summary import Distribution, Summary
from bench.processes import private_bytes
from bench.server import Server, serving

STREAMS: Final = 1000
TOKENS: Final = 600  # 12 s at the replay engine's pace: all are open at once from the end of the ramp on
RAMP_S: Final = 5.0
SAMPLE_INTERVAL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Crowd:
    """One run of all streams; `peak_bytes` is the gateway's memory over what it was before."""

    summary: Summary
    peak_bytes: int
    health: Distribution


def measure() -> Iterator[Finding]:
    with serving("replay") as server:
        crowd = execute(_crowd(server, server.processes.find("gateway")))
    summary = crowd.summary
    whole = summary.succeeded if summary.completion_tokens == summary.succeeded * TOKENS else 0
    yield Finding(4, f"streams of {STREAMS} that end whole", whole, "", "≥", STREAMS, {"errors": summary.errors})
    yield Finding(4, "gateway memory per open stream", crowd.peak_bytes / STREAMS / 1024, "KiB", "≤", 64.0)
    health = milliseconds(crowd.health.percentiles[99])
    yield Finding(4, f"/health/live meanwhile, p99 of {crowd.health.count}", health, "ms", "≤", 100.0)
    slowest = milliseconds(summary.gap_s.percentiles[99])
    yield Finding(4, "gap between chunks meanwhile, p99", slowest, "ms")


async def _crowd(server: Server, gateway: int) -> Crowd:
    warm_up = Plan(server.target, workload("replay", 16), Bounds(64))
    await run(warm_up, ClosedLoop(32))
    before = private_bytes(gateway)
    peak = asyncio.create_task(_peak_bytes(gateway))
    probe = await _start_probe(server, RAMP_S + TOKENS / 50)
    plan = Plan(server.target, workload("replay", TOKENS), Bounds(STREAMS))
    summary = await run(plan, OpenLoop(STREAMS / RAMP_S))
    peak.cancel()
    lines, _ = await probe.communicate()
    return Crowd(summary, await peak - before, Distribution.of(float(line) for line in lines.split()))


async def _peak_bytes(pid: int) -> int:
    """The most memory that is seen until the task is cancelled."""
    peak = 0
    try:
        while True:
            peak = max(peak, await asyncio.to_thread(private_bytes, pid))
            await asyncio.sleep(SAMPLE_INTERVAL_S)
    except asyncio.CancelledError:
        return peak


async def _start_probe(server: Server, seconds: float) -> asyncio.subprocess.Process:
    argv = [sys.executable, "-m", "bench.bars.probe", server.target.host, str(server.target.port), str(seconds)]
    return await asyncio.create_subprocess_exec(*argv, cwd=ROOT, stdout=subprocess.PIPE)
