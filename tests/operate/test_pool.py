"""One gateway over three real servers: of which one is killed, and one taken out, under load."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import Stack, free_port, serving
from tests.gateway.gateway_process import Gateway, running
from tests.gateway.scrape import Series, scrape_until, value
from tests.operate.name_server import NAME, name_server
from tests.waiting import wait_for

pytestmark = pytest.mark.operate

WAIT_S = 240
NUM_STREAMS = 30
WHOLE, BROKEN = "whole", "broken"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Stack]]:
    """At three addresses, with one port."""
    logs, port = tmp_path_factory.mktemp("servers"), free_port()
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                serving("replay", log=logs / f"{number}.log", kserve_host=f"127.0.0.{number + 2}", grpc_port=port)
            )
            for number in range(3)
        ]


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


def num_ended(server: Stack) -> int:
    labels = {"model": "replay", "outcome": "finished"}
    return int(server.engine_metric("conch_engine_requests_ended_total", **labels))


def test_one_page_has_the_metrics_of_each_server(servers: list[Stack]) -> None:
    addresses = [server.triton_metrics.removeprefix("http://") for server in servers]
    grpc = (server.triton_grpc for server in servers)
    before = [num_ended(server) for server in servers]
    with running("--triton-grpc", *grpc, "--triton-metrics", *addresses) as gateway:
        assert asyncio.run(under_load(gateway.url, lambda: None, 20)) == {WHOLE: NUM_STREAMS * 3 // 2}
        wait_for(lambda: sum(map(num_ended, servers)) - sum(before) == NUM_STREAMS * 3 // 2)
        ended = [num_ended(server) for server in servers]
        assert min(now - was for now, was in zip(ended, before, strict=True)) > 0

        def told(series: Series) -> list[int]:
            labels = {"model": "replay", "outcome": "finished"}
            return [
                int(value(series, "conch_engine_requests_ended_total", **labels, server=each)) for each in addresses
            ]

        page = scrape_until(gateway.url, lambda series: told(series) == ended)
        text = httpx.get(f"{gateway.url}/metrics").text
    assert min(value(page, "nv_inference_count", model="replay_engine", server=each) for each in addresses) > 0
    assert len([line for line in text.splitlines() if not line.startswith("#")]) == len(page), "a series is there twice"
    assert value(page, "conch_requests_total", finish_reason="length", status="2xx") == NUM_STREAMS * 3 // 2


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount, and listen at port 53")
def test_a_name_is_resolved_again_when_it_has_other_addresses(servers: list[Stack], tmp_path: Path) -> None:
    hosts, ports = zip(*(server.triton_grpc.split(":") for server in servers), strict=True)
    ends: list[str] = []
    num_before = sum(map(num_ended, servers))

    def wait_until_all_are_counted() -> None:
        wait_for(lambda: sum(map(num_ended, servers)) - num_before == len(ends))

    def served_by(gateway: Gateway) -> set[str]:
        wait_until_all_are_counted()
        before = [num_ended(server) for server in servers]
        ends.extend(asyncio.run(under_load_of_one(gateway.url)) for _ in range(2 * len(servers)))
        wait_until_all_are_counted()
        assert set(ends) == {WHOLE}
        return {host for host, server, was in zip(hosts, servers, before, strict=True) if num_ended(server) > was}

    with name_server(tmp_path) as names:
        names.addresses = [hosts[0]]
        flags = ("--triton-grpc", f"dns:{NAME}:{ports[0]}")
        with running(*flags, name_server=names.resolv_conf) as gateway:
            wait_for(lambda: httpx.get(f"{gateway.url}/health/ready").status_code == 200, lambda: gateway.log)
            assert served_by(gateway) == {hosts[0]}
            names.addresses = [*hosts]
            wait_for(lambda: served_by(gateway) == {*hosts})

            def leave() -> None:
                assert min(shares(servers)) > 0
                names.addresses = [*hosts[1:]]

            ends.extend(asyncio.run(under_load(gateway.url, leave)).elements())
            wait_for(lambda: served_by(gateway) == {*hosts[1:]})
            names.addresses = []
            assert served_by(gateway) == {*hosts[1:]}, "an answer without addresses takes none away"


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
