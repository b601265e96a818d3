"""`python -m bench.bars.probe HOST PORT SECONDS`: how long GET /health/live takes, in seconds, one line each.

A process of its own: in the load generator's, its answers would wait behind a thousand streams' chunks.
"""

from __future__ import annotations

import http.client
import sys
import time
from typing import Final

_INTERVAL_S: Final = 0.02


def main(host: str, port: int, seconds: float) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    end_s = time.perf_counter() + seconds
    while (start_s := time.perf_counter()) < end_s:
        connection.request("GET", "/health/live")
        response = connection.getresponse()
        response.read()
        sys.stdout.write(f"{time.perf_counter() - start_s if response.status == 200 else 'inf'}\n")
        time.sleep(_INTERVAL_S)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
