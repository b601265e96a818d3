"""A part of the server that the kernel kills because its memory has come to an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.ledger import settled
from tests.faults.memory_limit import memory_limit
from tests.faults.processes import PARTS, process
from tests.faults.reports import report
from tests.faults.streams import Poller, a_story, kinds, run_streams
from tests.launch.replay_engine import write_spec
from tests.launch.server import Server, serving
from tests.waiting import wait_for

STREAMS = 50
LONG = 1900  # tokens, at 50 a second
NOTHING = 64 * 1024  # bytes

pytestmark = pytest.mark.fault


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Server]:
    spec = write_spec(tmp_path_factory.mktemp("memory"), tokens_per_second=50)
    with serving(spec, [free_port() for _ in range(4)]) as running:
        yield running


def test_an_engine_that_runs_out_of_memory_is_started_again_and_leaves_nothing(server: Server) -> None:
    baseline = settled(server)
    pid = process(server, PARTS["engine"])
    short_s = 0.0
    with memory_limit() as limit:

        async def take_memory_away() -> None:
            nonlocal short_s
            limit.hold(pid, NOTHING)
            short_s = time.monotonic()

        asks = Poller(f"{server.url}/v1/completions", {**a_story(2), "stream": False}, timeout_s=60)
        with Poller(f"{server.url}/health/live") as live, asks:
            ends = asyncio.run(run_streams(server.url, STREAMS, LONG, take_memory_away))
            wait_for(lambda: pid not in server.descendants(), lambda: server.output)
            killed_s = time.monotonic()
            wait_for(lambda: asks.first({200}, after_s=killed_s) is not None, lambda: server.output)
        assert limit.num_kills == 1
    back_s = asks.first({200}, killed_s)
    assert back_s is not None
    report(
        "out of memory: engine",
        streams=kinds(ends),
        killed_after=killed_s - short_s,
        new_requests_meanwhile=asks.statuses(short_s),
        answers_again_after=back_s - killed_s,
    )
    assert kinds(ends) == {"error": STREAMS}
    assert live.statuses(short_s).keys() == {200}
    assert asks.statuses(short_s).keys() <= {200, 503}
    assert server.said("the process of model tale_engine died")
    assert settled(server).differences(baseline) == {}
