"""Processes that stop, as a hang looks from outside, while answers are streamed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.faults.processes import GATEWAY, PARTS, TRITON, process
from tests.faults.reports import report
from tests.faults.streams import HEADERS, Poller, a_story, kinds, run_streams
from tests.launch.replay_engine import write_spec
from tests.launch.server import Server, serving
from tests.waiting import wait_for

STREAMS = 50
STOPPED_S = 30.0
LONG = 1900  # tokens, at 50 a second


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Server]:
    """One that each test leaves answering."""
    spec = write_spec(tmp_path_factory.mktemp("tale"), tokens_per_second=50)
    with serving(spec, [free_port() for _ in range(4)]) as running:
        yield running


async def stop_for_a_while(server: Server, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)

    def go_on() -> None:
        if pid in server.descendants():
            os.kill(pid, signal.SIGCONT)

    asyncio.get_running_loop().call_later(STOPPED_S, go_on)


@pytest.mark.fault
@pytest.mark.parametrize("part", [*PARTS, "tritonserver"])
def test_a_part_of_triton_that_hangs_is_noticed_and_started_again(server: Server, part: str) -> None:
    pid = process(server, PARTS.get(part, TRITON))
    stopped_s = 0.0

    async def stop() -> None:
        nonlocal stopped_s
        await stop_for_a_while(server, pid)
        stopped_s = time.monotonic()

    ready, live = Poller(f"{server.url}/health/ready"), Poller(f"{server.url}/health/live")
    asks = Poller(f"{server.url}/v1/completions", {**a_story(2), "stream": False}, timeout_s=60)
    with ready, live, asks:
        ends = asyncio.run(run_streams(server.url, STREAMS, LONG, stop))
        wait_for(lambda: pid not in server.descendants())
        killed_s = time.monotonic()
        wait_for(lambda: asks.first({200}, after_s=killed_s) is not None)
    ended_s = [end.ended_s - stopped_s for end in ends]
    noticed_s, back_s = ready.first({503}, stopped_s), asks.first({200}, killed_s)
    assert noticed_s is not None
    assert back_s is not None
    report(
        f"SIGSTOP {part}",
        ready_503_after=noticed_s - stopped_s,
        streams=kinds(ends),
        ended_from=min(ended_s),
        ended_to=max(ended_s),
        live=live.statuses(stopped_s),
        new_requests_meanwhile=asks.statuses(stopped_s),
        killed_after=killed_s - stopped_s,
        answers_again_after=back_s - stopped_s,
    )
    assert kinds(ends) == {"error": STREAMS}
    assert live.statuses(stopped_s).keys() == {200}
    assert asks.statuses(stopped_s).keys() <= {200, 503}


@pytest.mark.fault
def test_a_gateway_that_hangs_is_started_again(server: Server) -> None:
    pid = process(server, GATEWAY)
    os.kill(pid, signal.SIGSTOP)
    stopped_s = time.monotonic()
    with Poller(f"{server.url}/v1/completions", {**a_story(2), "stream": False}, timeout_s=2) as asks:
        wait_for(lambda: pid not in server.descendants())
        killed_s = time.monotonic()
        wait_for(lambda: asks.first({200}, after_s=killed_s) is not None)
    back_s = asks.first({200}, killed_s)
    assert back_s is not None
    report("SIGSTOP gateway", killed_after=killed_s - stopped_s, answers_again_after=back_s - stopped_s)


@pytest.mark.fault
def test_a_gateway_that_goes_on_in_time_is_left_alone_with_its_streams(server: Server) -> None:
    pid = process(server, GATEWAY)

    async def pause() -> None:
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(4)
        os.kill(pid, signal.SIGCONT)

    ends = asyncio.run(run_streams(server.url, STREAMS, 600, pause))
    report("SIGSTOP gateway for 4 s", streams=kinds(ends))
    assert kinds(ends) == {"complete": STREAMS}
    assert pid in server.descendants()


@pytest.mark.fault
def test_of_two_workers_the_one_that_hangs_is_replaced(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> None:
    spec = write_spec(tmp_path_factory.mktemp("two"), tokens_per_second=50)
    with serving(spec, [free_port() for _ in range(4)], "--workers", "2") as server:
        workers = [pid for pid, command in server.descendants().items() if b"gateway.processes.worker" in command]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGSTOP)
        stopped_s = time.monotonic()
        with Poller(f"{server.url}/v1/completions", {**a_story(2), "stream": False}, timeout_s=1) as asks:
            wait_for(lambda: server.said(" serves again"))
        back_s = time.monotonic()
        assert httpx.get(f"{server.url}/v1/models", headers=HEADERS).status_code == 200
        assert workers[1] in server.descendants()
    report("SIGSTOP 1 of 2 workers", replaced_after=back_s - stopped_s, asked_meanwhile=asks.statuses(stopped_s))
