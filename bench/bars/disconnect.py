"""Bar 6: how long the engine goes on working for a client that has gone, by the engine's own counters.

They are published ten times a second, so that half of that interval is the mean of what is added.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Final

from bench.bars.finding import Finding, milliseconds
from bench.load.summary import percentile
from bench.server import Server, build, serving
from triton_repo.contract.errors import BenchError
from triton_repo.contract.http_probe import probe

CLIENTS: Final = 100
TARGET_MS: Final = 200.0
_LIVE: Final = 'conch_engine_requests{model="demo",state="live"}'
_BODY: Final = json.dumps(
    {"model": "demo", "prompt": "x", "max_tokens": 1900, "ignore_eos": True, "stream": True},
)
_TIMEOUT_S: Final = 10.0
_PUBLISHED_EVERY_S: Final = 0.1


def measure() -> Iterator[Finding]:
    build("demo")
    with serving("demo") as server:
        phases_s = [_PUBLISHED_EVERY_S * client / CLIENTS for client in range(CLIENTS)]
        gone_after_s = sorted(leave(server, phase_s) for phase_s in phases_s)
    for percent in (50, 99):
        measured = milliseconds(percentile(gone_after_s, percent))
        what = f"from a client's disconnect until the engine holds no request, p{percent} of {CLIENTS}"
        yield Finding(6, what, measured, "ms", "≤", TARGET_MS)


def leave(server: Server, phase_s: float) -> float:
    """Seconds from closing a connection in the middle of a stream until no request is live.

    The client leaves `phase_s` after the counters were published.
    """
    connection = http.client.HTTPConnection(server.target.host, server.target.port, timeout=_TIMEOUT_S)
    connection.request("POST", "/v1/completions", _BODY, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read(1)
    wait_until(server, 1)
    time.sleep(phase_s)
    response.close()
    connection.close()
    left_s = time.perf_counter()
    wait_until(server, 0)
    return time.perf_counter() - left_s


def wait_until(server: Server, live: int) -> None:
    deadline = time.perf_counter() + _TIMEOUT_S
    while live_requests(server) != live:
        if time.perf_counter() > deadline:
            raise BenchError(f"after {_TIMEOUT_S:g} s the engine did not hold {live} requests")


def live_requests(server: Server) -> int:
    answer = probe(f"http://{server.target.host}:{server.metrics_port}/metrics", timeout_s=_TIMEOUT_S)
    if answer is None:
        raise BenchError(f"Triton's metrics did not answer on port {server.metrics_port}")
    series = next(line for line in answer.body.decode().splitlines() if line.startswith(_LIVE))
    return int(float(series.rpartition(" ")[2]))
