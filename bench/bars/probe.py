"""`python -m bench.bars.probe HOST PORT SECONDS [first]`: how long GET /health/live takes, in seconds, one line each.

A process of its own: in the load generator's, its answers would wait behind a thousand streams' chunks. It asks at
fixed times, and an answer counts from when it was due, as in `bench.load.generator.OpenLoop`: who waits for an
answer and only then asks again meets a stall once, however many requests it would have held up. With `first` it runs
before the server where it may, for what it waits for a processor counts too.
"""

from __future__ import annotations

import http.client
import math
import sys
import time
from collections.abc import Iterator
from typing import Final

from bench.load.priority import go_first

INTERVAL_S: Final = 0.02
_TIMEOUT_S: Final = 30.0


def latencies_s(host: str, port: int, seconds: float) -> Iterator[float]:
    """Of one request for each interval of the `seconds`; infinite where there was no good answer."""
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    start_s = time.perf_counter()
    for number in range(round(seconds / INTERVAL_S)):
        due_s = start_s + number * INTERVAL_S
        time.sleep(max(0.0, due_s - time.perf_counter()))
        yield time.perf_counter() - due_s if _is_live(connection) else math.inf


def _is_live(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/health/live")
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        connection.close()  # the next request opens it again
        return False
    return response.status == 200


if __name__ == "__main__":
    if "first" in sys.argv[4:]:
        go_first()
    for latency_s in latencies_s(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])):
        print(latency_s)
