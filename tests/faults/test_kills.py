"""Processes that are killed while answers are streamed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.faults.ledger import settled
from tests.faults.processes import GATEWAY, PARTS, TRITON, process
from tests.faults.reports import report
from tests.faults.streams import HEADERS, WAIT_S, Poller, a_story, kinds, run_streams
from tests.launch.replay_engine import write_spec
from tests.launch.server import Server, regions, serving
from tests.operate.replicas import replicas
from tests.waiting import wait_for

STREAMS = 50
FEW = 20
LOSSES = 5
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
        tritonserver_ended=process(two, TRITON) != triton,
    )
    assert ends == {"error": STREAMS}
    assert asks.statuses(killed_s).keys() <= {200, 503}
    if process(two, TRITON) == triton:  # else it died of what the process left locked
        assert others == {"complete": STREAMS}
        assert ready.statuses(killed_s).keys() == {200}


@pytest.mark.fault
@pytest.mark.parametrize("part", PARTS)
def test_an_engine_that_loses_a_process_again_and_again_is_started_again_each_time(two: Server, part: str) -> None:
    """The streams of the other engine end whole, unless tritonserver, too, ends.

    It aborts where a process dies that holds one of the locks which both share.
    """
    ends: Counter[str] = Counter()
    others: Counter[str] = Counter()
    aborted, longest_s = 0, 0.0
    for _ in range(LOSSES):
        triton = process(two, TRITON)
        tale, other, back_s = asyncio.run(lose_once(two, part))
        longest_s = max(longest_s, back_s)
        ends.update(tale)
        if process(two, TRITON) == triton:
            assert other == {"complete": FEW}
            others.update(other)
        aborted += process(two, TRITON) != triton
    report(
        f"SIGKILL {part} of one of two engines, {LOSSES} times",
        streams=dict(ends),
        streams_of_the_other=dict(others),
        tritonserver_ended=aborted,
        answers_again_after_at_most=longest_s,
    )
    assert ends == {"error": LOSSES * FEW}
    assert aborted < LOSSES


async def lose_once(server: Server, part: str) -> tuple[dict[str, int], dict[str, int], float]:
    """How the streams of both engines ended, and how long the one that loses a process was away."""
    killed_s = back_s = 0.0
    both_run = asyncio.Barrier(2)

    async def kill() -> None:
        nonlocal killed_s
        await both_run.wait()
        os.kill(process(server, PARTS[part]), signal.SIGKILL)
        killed_s = time.monotonic()

    async def outlast() -> None:
        nonlocal back_s
        await both_run.wait()
        await asyncio.to_thread(wait_for, lambda: killed_s > 0 and ask(server) == 200, lambda: server.output)
        back_s = time.monotonic()

    tale, other = await asyncio.gather(
        run_streams(server.url, FEW, LONG, kill), run_streams(server.url, FEW, 400, outlast, "other")
    )
    return kinds(tale), kinds(other), back_s - killed_s


@pytest.mark.fault
@pytest.mark.parametrize("part", ["preprocess", "tritonserver"])
def test_what_had_not_begun_when_a_part_was_killed_is_answered_beside_streams_that_fail(one: Server, part: str) -> None:
    prepares = process(one, PARTS["preprocess"])
    asked_s = 0.0

    async def wait_and_kill() -> list[int]:
        nonlocal asked_s
        os.kill(prepares, signal.SIGSTOP)  # so that no other request begins
        async with httpx.AsyncClient(timeout=WAIT_S, headers=HEADERS) as client:
            bodies = [{**a_story(20), "stream": number % 2 == 0} for number in range(FEW)]
            asked = [asyncio.create_task(client.post(f"{one.url}/v1/completions", json=body)) for body in bodies]
            in_flight = f"conch_requests_in_flight {STREAMS + FEW}"
            while in_flight not in (await client.get(f"{one.url}/metrics")).text:
                await asyncio.sleep(0.02)
            os.kill(process(one, {**PARTS, "tritonserver": TRITON}[part]), signal.SIGKILL)
            asked_s = time.monotonic()
            return [response.status_code for response in await asyncio.gather(*asked)]

    waiting: list[asyncio.Task[list[int]]] = []

    async def begin() -> None:
        waiting.append(asyncio.create_task(wait_and_kill()))

    async def both() -> tuple[dict[str, int], list[int]]:
        return kinds(await run_streams(one.url, STREAMS, LONG, begin)), await waiting[0]

    ends, statuses = asyncio.run(both())
    report(
        f"SIGKILL {part} before {FEW} requests had begun",
        streams=ends,
        statuses=dict(Counter(statuses)),
        answered_after=time.monotonic() - asked_s,
    )
    assert (ends, statuses) == ({"error": STREAMS}, [200] * FEW)


def ask(server: Server) -> int:
    body = {**a_story(2), "stream": False}
    return httpx.post(f"{server.url}/v1/completions", json=body, headers=HEADERS, timeout=60).status_code


@pytest.fixture
def one(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Server]:
    """With the engine tale alone. One for each test: a Triton that ends five times in a row soon after its start is
    given up, and `conch serve` ends."""
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
        wait_for(lambda: asks.first({200}, after_s=killed_s + 1) is not None, lambda: one.output)
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


@pytest.mark.fault
def test_the_shared_memory_of_a_server_that_lost_all_its_processes_is_removed_by_its_next_start(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with replicas(tmp_path_factory.mktemp("lost"), 1) as (replica,):
        prefix = replica.running.shm_prefix()
        replica.kill()
        assert regions(prefix)
        replica.start()
        replica.wait()
        assert regions(prefix) == []
        assert regions(replica.running.shm_prefix())
