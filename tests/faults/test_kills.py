"""Processes that are killed while answers are streamed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.faults.ledger import settled
from tests.faults.processes import GATEWAY, PARTS, TRITON, process
from tests.faults.reports import report
from tests.faults.streams import HEADERS, Poller, a_story, kinds, run_streams
from tests.launch.replay_engine import write_spec
from tests.launch.server import Server, regions, serving, wait_for

STREAMS = 50
LONG = 1900  # tokens, at 50 a second


@pytest.fixture
def two(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Server]:
    """With the engines tale and other."""
    directory = tmp_path_factory.mktemp("two")
    tale, other = (write_spec(directory, name, tokens_per_second=50) for name in ("tale", "other"))
    with serving(tale, [free_port() for _ in range(4)], str(other)) as running:
        yield running


@pytest.mark.fault
@pytest.mark.parametrize(("part", "number"), [*((part, signal.SIGKILL) for part in PARTS), ("engine", signal.SIGSTOP)])
def test_of_two_engines_the_one_that_loses_a_process_fails_and_comes_back_alone(
    two: Server, part: str, number: signal.Signals
) -> None:
    killed_s = 0.0

    async def kill() -> None:
        nonlocal killed_s
        await asyncio.sleep(1)  # those of the other have begun too
        os.kill(process(two, PARTS[part]), number)
        killed_s = time.monotonic()

    async def nothing() -> None:
        pass

    async def both() -> tuple[dict[str, int], dict[str, int], float]:
        tale = asyncio.create_task(run_streams(two.url, STREAMS, LONG, kill))
        other = await run_streams(two.url, STREAMS, 600, nothing, "other")
        ends = await tale
        return kinds(ends), kinds(other), max(end.ended_s for end in ends) - killed_s

    triton = process(two, TRITON)
    ready = Poller(f"{two.url}/health/ready")
    asks = Poller(f"{two.url}/v1/completions", {**a_story(2), "stream": False}, timeout_s=60)
    with ready, asks:
        ends, others, ended_s = asyncio.run(both())
        wait_for(lambda: asks.first({200}, after_s=killed_s + ended_s) is not None, lambda: two.output)
    back_s = asks.first({200}, killed_s + ended_s)
    assert back_s is not None
    report(
        f"{number.name} {part} of one of two engines",
        streams=ends,
        ended_to=ended_s,
        streams_of_the_other=others,
        new_requests_meanwhile=asks.statuses(killed_s),
        answers_again_after=back_s - killed_s,
    )
    assert (ends, others) == ({"error": STREAMS}, {"complete": STREAMS})
    assert ready.statuses(killed_s).keys() == {200}
    assert asks.statuses(killed_s).keys() <= {200, 503}
    assert process(two, TRITON) == triton
    os.kill(process(two, PARTS[part]), signal.SIGKILL)  # the second time Triton itself has to be started again
    wait_for(lambda: two.said("triton is ready again"), lambda: two.output)
    assert ask(two, "tale") == ask(two, "other") == 200


def ask(server: Server, model: str) -> int:
    body = {**a_story(2, model), "stream": False}
    wait_for(lambda: httpx.get(f"{server.url}/health/ready").status_code == 200)
    return httpx.post(f"{server.url}/v1/completions", json=body, headers=HEADERS, timeout=60).status_code


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Server]:
    """With the engine tale, which each test leaves answering."""
    spec = write_spec(tmp_path_factory.mktemp("one"), tokens_per_second=50)
    with serving(spec, [free_port() for _ in range(4)]) as running:
        yield running


@pytest.mark.fault
@pytest.mark.parametrize("part", [*PARTS, "tritonserver", "gateway"])
def test_what_is_killed_is_started_again_and_leaves_nothing(one: Server, part: str) -> None:
    baseline = settled(one)
    pid = process(one, {**PARTS, "tritonserver": TRITON, "gateway": GATEWAY}[part])
    killed_s = 0.0

    async def kill() -> None:
        nonlocal killed_s
        os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()

    ready = Poller(f"{one.url}/health/ready")
    asks = Poller(f"{one.url}/v1/completions", {**a_story(2), "stream": False}, timeout_s=60)
    with ready, asks:
        ends = asyncio.run(run_streams(one.url, STREAMS, LONG, kill))
        wait_for(lambda: asks.first({200}, after_s=killed_s + 1) is not None)
    back_s, noticed_s = asks.first({200}, killed_s + 1), ready.first({0, 503}, killed_s)
    assert back_s is not None
    assert noticed_s is not None
    report(
        f"SIGKILL {part}",
        streams=kinds(ends),
        ended_to=max(end.ended_s for end in ends) - killed_s,
        ready_503_after=noticed_s - killed_s,
        new_requests_meanwhile=asks.statuses(killed_s),
        answers_again_after=back_s - killed_s,
    )
    # A gateway that is killed cannot say anything any more.
    assert kinds(ends) == {"cut" if part == "gateway" else "error": STREAMS}
    assert asks.statuses(killed_s).keys() <= {0, 200, 503}
    assert settled(one).differences(baseline) == {}


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_what_conch_leaves_when_it_is_killed_the_next_start_removes(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], number: signal.Signals
) -> None:
    directory = tmp_path_factory.mktemp("dies")
    spec, ports = write_spec(directory, tokens_per_second=50), [free_port() for _ in range(4)]
    with serving(spec, ports) as server:
        prefix, killed_s = server.shm_prefix(), time.monotonic()

        async def kill() -> None:
            os.kill(server.process.pid, number)

        ends = asyncio.run(run_streams(server.url, STREAMS, LONG, kill))
        server.stop(number)
        wait_for(lambda: not server.descendants())
        wait_for(lambda: not regions(prefix))
        gone_s = time.monotonic()
    with serving(spec, ports) as again:
        left = sorted(path.name for path in directory.glob("conch-*"))
        assert len(left) == 1, left
        assert again.process.poll() is None
    report(
        f"{number.name} conch serve",
        streams=kinds(ends),
        ended_to=max(end.ended_s for end in ends) - killed_s,
        everything_gone_after=gone_s - killed_s,
    )
    assert kinds(ends) == {"error": STREAMS}
    assert list(directory.glob("conch-*")) == []
