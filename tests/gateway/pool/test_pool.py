"""Several Triton servers as one backend, against servers that answer as a test wrote down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as pb

from gateway.answers.backend import EngineLost
from gateway.pool.addresses import Addresses
from gateway.pool.member import Member
from gateway.pool.pool import TritonPool
from gateway.triton.backend import TritonBackend
from tests.conftest import free_port
from tests.gateway.scripted_backend import CARD
from tests.gateway.scripted_triton import HELLO, ScriptedTriton, generation, listening, response, tokens
from triton_repo.contract.errors import EngineUnavailable, ModelNotFound
from triton_repo.contract.tensors import SUBSCRIBE

WAIT_S = 120
SMALL = replace(CARD, max_batch_size=4, kv_cache_tokens=1000, max_seq_len=512)


def triton(*responses: Any, **cards: Any) -> ScriptedTriton:
    """It serves the engine `demo`, and `cards` by name."""
    named = cards or {"demo": CARD}
    return ScriptedTriton(responses or (response("a", "stop"),), {name: card.to_json() for name, card in named.items()})


@asynccontextmanager
async def pool_of(*tritons: ScriptedTriton) -> AsyncIterator[TritonPool]:
    async with AsyncExitStack() as servers:
        addresses = [await servers.enter_async_context(listening(each)) for each in tritons]
        pool = TritonPool(Addresses(addresses, None), TritonBackend)
        servers.push_async_callback(pool.close)
        await pool.models()
        yield pool


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            result = condition()
            if await result if isinstance(result, Awaitable) else result:
                return
            await asyncio.sleep(0.02)


def num_asked(triton: ScriptedTriton) -> int:
    """Generations, not the messages about channels."""
    return sum(request.model_name == "demo" and SUBSCRIBE not in request.parameters for request in triton.asked)


@pytest.mark.asyncio
async def test_servers_are_one_engine_with_the_capacity_of_all() -> None:
    async with pool_of(triton(demo=SMALL, one=CARD), triton(demo=replace(SMALL, max_seq_len=256))) as pool:
        card = (await pool.models())["demo"]
        assert (card.max_batch_size, card.kv_cache_tokens, card.max_seq_len) == (8, 2000, 256)
        assert set(await pool.models()) == {"demo", "one"}
        await pool.ready()
        with pytest.raises(ModelNotFound):
            await pool.card("another")


@pytest.mark.asyncio
async def test_requests_go_where_the_least_is_to_do() -> None:
    servers = [triton(response("a")) for _ in range(2)]  # their answers never end
    async with pool_of(*servers) as pool:
        long = pool.generate(generation(request_id="long", max_tokens=500))
        await anext(long)
        (busy,) = [server for server in servers if num_asked(server)]
        short = [pool.generate(generation(request_id=f"id-{number}", max_tokens=50)) for number in range(5)]
        for deltas in short:
            await anext(deltas)
        assert num_asked(busy) == 1
        await long.aclose()
        for deltas in short:
            await deltas.aclose()
        for number in range(4):
            await anext(pool.generate(generation(request_id=f"last-{number}")))
        assert num_asked(busy) == 3


@pytest.mark.asyncio
async def test_a_larger_engine_gets_more() -> None:
    large, small = (triton(response("a"), demo=replace(CARD, max_batch_size=size)) for size in (30, 10))
    async with pool_of(large, small) as pool:
        running = [pool.generate(generation(request_id=f"id-{number}", max_tokens=100)) for number in range(40)]
        for deltas in running:
            await anext(deltas)
        assert (num_asked(large), num_asked(small)) == (30, 10)
        for deltas in running:
            await deltas.aclose()


@pytest.mark.asyncio
async def test_a_cancel_goes_to_the_server_that_has_the_request() -> None:
    servers = [triton(response("a")) for _ in range(3)]
    async with pool_of(*servers) as pool:
        deltas = pool.generate(generation())
        await anext(deltas)
        (asked,) = [server for server in servers if num_asked(server)]
        await deltas.aclose()
        pool.cancel(generation())
        await until(lambda: any(request.model_name == "demo_engine" for request in asked.asked))
        pool.cancel(generation())  # of what has ended
        assert [server for server in servers if server.asked] == [asked]


@pytest.mark.asyncio
async def test_a_lost_server_gets_nothing_and_the_others_everything() -> None:
    port, rest = free_port(), triton()
    async with AsyncExitStack() as stack, listening(rest) as address:
        gone = await stack.enter_async_context(listening(broken := triton(response("a")), port))
        broken.breaks_off = True
        pool = TritonPool(Addresses([gone, address], None), TritonBackend)
        try:
            await pool.ready()
            lost = pool.generate(generation(request_id="lost"))
            other = pool.generate(generation(request_id="other"))
            results = await asyncio.gather(*map(read_all, (lost, other)), return_exceptions=True)
            assert sorted(map(type, results), key=str) == [EngineLost, list]
            await stack.aclose()
            for number in range(5):
                assert await read_all(pool.generate(generation(request_id=f"id-{number}"))) == ["a"]
            await pool.is_back("demo")
        finally:
            await pool.close()


@pytest.mark.asyncio
async def test_a_server_that_comes_back_is_used_again() -> None:
    port = free_port()
    pool = TritonPool(Addresses([f"127.0.0.1:{port}"], None), TritonBackend)
    try:
        with pytest.raises(EngineUnavailable):
            await pool.ready()
        with pytest.raises(EngineUnavailable):  # not that the model does not exist
            await pool.card("demo")
        with pytest.raises(EngineLost):
            pool.check_progress("demo")
        async with listening(triton(), port):
            await asyncio.wait_for(pool.is_back("demo"), WAIT_S)
            assert await read_all(pool.generate(generation())) == ["a"]
    finally:
        await pool.close()


@pytest.mark.asyncio
async def test_what_only_reads_is_asked_of_another_server() -> None:
    ids = tokens(("input_ids", "INT32", [1, 2], b"\5\0\0\0\6\0\0\0"))
    good, port = triton(), free_port()
    good.tokens = ids
    async with AsyncExitStack() as stack, listening(good) as address:
        gone = await stack.enter_async_context(listening(triton(), port))
        pool = TritonPool(Addresses([gone, address], None), TritonBackend)
        try:
            await pool.ready()
            await stack.aclose()
            for _ in range(2):  # each server is asked first once
                assert list(await pool.tokenize("demo", HELLO)) == [5, 6]
        finally:
            await pool.close()


@pytest.mark.asyncio
async def test_a_server_that_is_taken_off_the_list_ends_what_it_has_and_is_left(tmp_path: Path) -> None:
    file, leaving, staying = tmp_path / "servers", triton(response("a")), triton()
    async with listening(leaving) as old, listening(staying) as new:
        file.write_text(old, encoding="utf-8")
        pool = TritonPool(Addresses((), file), TritonBackend)
        try:
            open_answer = pool.generate(generation(request_id="open"))
            await pool.ready()
            assert (await anext(open_answer)).text == "a"
            file.write_text(new, encoding="utf-8")
            await until(lambda: new in pool.addresses)
            await pool.is_back("demo")
            assert await read_all(pool.generate(generation())) == ["a"]
            assert num_asked(staying) == 1
            assert old in pool.addresses, "it has an open request"
            await open_answer.aclose()
            await until(lambda: old not in pool.addresses)
        finally:
            await pool.close()


@pytest.mark.asyncio
async def test_a_server_that_says_nothing_loses_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.pool.member.SILENT_S", 0.1)
    silent = triton(response("a"))
    async with listening(silent) as address:
        member = Member(address, TritonBackend(address), lambda: None)
        try:
            await member.known()
            deltas = member.backend.generate(generation())
            await anext(deltas)
            silent.is_silent = True
            with pytest.raises(EngineLost):
                await asyncio.wait_for(anext(deltas), WAIT_S)
            assert not member.can_serve("demo")
        finally:
            await member.close()


async def read_all(deltas: Any) -> list[str]:
    return [delta.text async for delta in deltas]


@pytest.mark.asyncio
async def test_servers_are_asked_for_their_version_at_once_and_those_that_hang_are_not_waited_for() -> None:
    all_are_asked = asyncio.Barrier(3)

    class Versioned(ScriptedTriton):
        async def ServerMetadata(self, _: Any, __: Any) -> Any:  # noqa: N802
            await all_are_asked.wait()
            if self is not servers[-1]:
                await asyncio.Event().wait()
            return pb.ServerMetadataResponse(version="2.51.0")

    servers = [Versioned((), {"demo": CARD.to_json()}) for _ in range(3)]
    async with pool_of(*servers) as pool:
        assert await pool.others.server_version() == "2.51.0"
