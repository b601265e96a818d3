"""One gateway over three real servers: of which one is killed, and one taken out, under load."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import Stack, serving
from tests.gateway.gateway_process import running

pytestmark = pytest.mark.operate

WAIT_S = 240
NUM_STREAMS = 30
WHOLE, BROKEN = "whole", "broken"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Stack]]:
    logs = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        yield [stack.enter_context(serving("replay", log=logs / f"{number}.log")) for number in range(3)]


def num_live(server: Stack) -> int:
    return int(server.engine_metric("conch_engine_requests", model="replay", state="live"))


def shares(servers: list[Stack]) -> list[int]:
    """How many requests each of them has, once they have as many as were sent."""
    deadline = time.monotonic() + WAIT_S
    while sum(found := [num_live(server) for server in servers]) != NUM_STREAMS:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


async def stream(client: httpx.AsyncClient, url: str, begun: asyncio.Semaphore, max_tokens: int) -> str:
    """How it ended; raises AssertionError if it did so in no known way."""
    body = {"model": "replay", "prompt": "x", "max_tokens": max_tokens, "stream": True, "ignore_eos": True}
    text = ""
    async with client.stream("POST", f"{url}/v1/completions", json=body) as response:
        assert response.status_code == 200
        async for part in response.aiter_text():
            if not text:
                begun.release()
            text += part
    *_, last = [line for line in text.splitlines() if line]
    if last == "data: [DONE]":
        assert text.count('"finish_reason":"length"') == 1
        return WHOLE
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "service_unavailable_error"
    return BROKEN


async def under_load(url: str, meanwhile: Callable[[], None], max_tokens: int = 1900) -> Counter[str]:
    """How many streams ended how; `meanwhile` is called once all have begun, and half as many follow it."""
    begun = asyncio.Semaphore(0)
    async with httpx.AsyncClient(timeout=WAIT_S, limits=httpx.Limits(max_connections=None)) as client:
        tasks = [asyncio.create_task(stream(client, url, begun, max_tokens)) for _ in range(NUM_STREAMS)]
        for _ in tasks:
            await begun.acquire()
        meanwhile()
        tasks += [asyncio.create_task(stream(client, url, begun, max_tokens)) for _ in range(NUM_STREAMS // 2)]
        return Counter(await asyncio.gather(*tasks))


def test_a_killed_server_loses_its_own_streams_and_nothing_else(servers: list[Stack]) -> None:
    lost = NUM_STREAMS // len(servers)

    def kill() -> None:
        assert shares(servers) == [lost] * len(servers)
        family = psutil.Process(servers[0].pid).children(recursive=True)
        next(one for one in family if any("bin/tritonserver" in word for word in one.cmdline())).kill()

    with running("--triton-grpc", *(server.triton_grpc for server in servers)) as gateway:
        ends = asyncio.run(under_load(gateway.url, kill))
        assert httpx.get(f"{gateway.url}/health/ready").status_code == 200
    assert 0 < ends[BROKEN] <= lost + 2, "those that it had, and those it got before it was known to be gone"
    assert ends.total() == NUM_STREAMS * 3 // 2


def test_a_server_that_is_taken_off_the_list_loses_nothing(servers: list[Stack], tmp_path: Path) -> None:
    file = tmp_path / "servers"
    file.write_text("\n".join(server.triton_grpc for server in servers), encoding="utf-8")
    with running("--triton-grpc", "--triton-servers-file", str(file)) as gateway:

        def take_out() -> None:
            assert shares(servers)[2]
            file.write_text("\n".join(server.triton_grpc for server in servers[:2]), encoding="utf-8")

        assert asyncio.run(under_load(gateway.url, take_out)) == {WHOLE: NUM_STREAMS * 3 // 2}
        for _ in range(8):
            assert asyncio.run(under_load_of_one(gateway.url)) == WHOLE
        assert num_live(servers[2]) == 0


async def under_load_of_one(url: str) -> str:
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        return await stream(client, url, asyncio.Semaphore(0), 20)
