"""Bar 2: CPU per token of the serving path, all processes of `conch serve` counted, and where it saturates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench.bars.engines import FAST
from bench.bars.finding import Finding, milliseconds
from bench.bars.replay import closed_loop, workload
from bench.bars.steady import Steady, steady
from bench.load.summary import Summary
from bench.server import Server, build, serving

TOKENS: Final = 128
WAVES: Final = {64: 24, 256: 8}  # by streams: enough for seconds of CPU, which is counted in ticks of 10 ms
TARGET_US: Final = 10.0

PACE: Final = 50  # tokens a second, as engines/replay.toml says
PACED_TOKENS: Final = 500
NOMINAL_S: Final = PACED_TOKENS / PACE
RAMP_S: Final = 4.0  # streams arrive within it, and then all of them are open at once for the rest
LATE: Final = 1.05  # of its nominal time is what the slowest stream may take and still be on time
BASE: Final = 256
LADDER: Final = (384, 512, 640, 768, 896, 1000)


def measure() -> Iterator[Finding]:
    build(FAST)
    with serving(FAST) as server:
        for streams in WAVES:
            yield full_speed(server, streams)
    with serving("replay") as server:
        base = steady(server, BASE, PACED_TOKENS, RAMP_S)
        yield from paced(base)
        what = f"most streams at {PACE} tokens/s that are on time"
        yield Finding(2, what, saturation(server, base.summary), "streams", details={"ladder": (BASE, *LADDER)})


def full_speed(server: Server, streams: int) -> Finding:
    load = workload("replay-fast", TOKENS)
    before = server.processes.cpu_by_name_s()
    summary = closed_loop(server, load, streams, streams * WAVES[streams])
    used = {name: cpu_s - before[name] for name, cpu_s in server.processes.cpu_by_name_s().items()}
    tokens_per_s = summary.output_tokens_per_s
    details = {
        "tokens": summary.completion_tokens,
        "tokens_per_s": tokens_per_s,
        "chunks": summary.gap_s.count + summary.ttft_s.count,
        "share_by_process": {name: cpu_s / sum(used.values()) for name, cpu_s in used.items()},
    }
    per_token = (summary.server_cpu_s_per_token or 0.0) * 1e6
    what = f"CPU per token, {streams} streams of {TOKENS} tokens ({tokens_per_s or 0:,.0f} tokens/s)"
    return Finding(2, what, per_token, "us", "≤", TARGET_US, details)


def paced(base: Steady) -> Iterator[Finding]:
    load = f"{BASE} streams at {PACE} tokens/s"
    slowest = base.summary.end_to_end_s.percentiles[99]
    late = None if slowest is None else slowest / NOMINAL_S
    yield Finding(2, f"{load}: time over nominal time, p99", late, "", "≤", LATE, {"errors": base.summary.errors})
    gap = milliseconds(base.summary.gap_s.percentiles[99])
    yield Finding(2, f"{load}: gap between chunks, p99", gap, "ms", "≤", 100.0)
    server, client = (base.cores.server, base.cores.client) if base.cores else (None, None)
    yield Finding(2, f"{load}: CPU while all are open", server, "cores", details={"client_cores": client})


def saturation(server: Server, base: Summary) -> float:
    """The last rung of the ladder on which the streams were on time; 0 if even the first was late."""
    if not on_time(base):
        return 0
    good = BASE
    for streams in LADDER:
        if not on_time(steady(server, streams, PACED_TOKENS, RAMP_S).summary):
            break
        good = streams
    return good


def on_time(summary: Summary) -> bool:
    slowest = summary.end_to_end_s.percentiles[99]
    return not summary.failed and slowest is not None and slowest <= LATE * NOMINAL_S
