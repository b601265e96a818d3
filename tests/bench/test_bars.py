"""What the bars measure with."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.bars import cpu
from bench.bars.steady import Reading, Steady, cores_while_all_open
from bench.child_server import ROOT
from bench.load.answer import Record
from bench.load.summary import summarize

STALL_S = 0.4


@contextmanager
def stalling(statuses: Sequence[int]) -> Iterator[int]:
    """The port of a server that stalls before its first answer; its last status is that of all later ones."""
    coming = itertools.chain(statuses, itertools.repeat(statuses[-1]))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if not server.has_stalled:
                time.sleep(STALL_S)
                server.has_stalled = True
            self.send_response(next(coming))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        has_stalled = False

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def probed(port: int, seconds: float) -> list[float]:
    argv = [sys.executable, "-m", "bench.bars.probe", "127.0.0.1", str(port), str(seconds)]
    lines = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [float(line) for line in lines]


def test_a_probe_asks_at_its_times_and_counts_a_stall_for_each_request_that_it_held_up() -> None:
    with stalling([200]) as port:
        latencies = probed(port, 0.6)
    assert len(latencies) == 30
    for number, latency in enumerate(latencies):  # a slow machine only makes them longer
        assert latency >= STALL_S - number * 0.02


def test_a_probe_tells_an_answer_that_is_none_as_one_that_never_came() -> None:
    with stalling([503, 200]) as port:
        latencies = probed(port, 0.6)
    assert [math.isinf(latency) for latency in latencies] == [True, *[False] * 29]


def test_the_cpu_of_paced_streams_is_that_of_the_time_in_which_all_of_them_are_open() -> None:
    records = [Record(float(start_s), start_s + 10.0) for start_s in range(5)]  # all open from 4 to 10
    used, readings = 0.0, []
    for second in range(16):
        readings.append(Reading(float(second), used, used / 10))
        used += sum(record.start_s <= second < record.end_s for record in records) * 0.2  # a fifth of a core for each
    base = Steady(summarize("paced", records), cores_while_all_open(readings, records))
    cores = next(finding for finding in cpu.paced(base) if finding.unit == "cores")
    assert cores.measured == pytest.approx(1.0)
    assert cores.details == {"client_cores": pytest.approx(0.1)}


def test_streams_that_were_never_all_open_have_no_such_cpu() -> None:
    records = [Record(0.0, 1.0), Record(5.0, 6.0)]
    assert cores_while_all_open([Reading(float(second), 0.0, 0.0) for second in range(7)], records) is None
