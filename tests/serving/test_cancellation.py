"""What nobody reads is not generated: whenever a client goes, the engine lets go."""

from __future__ import annotations

import asyncio
import random
import time

import httpx
import pytest

from tests.conftest import Stack
from tests.serving.triton_client import row, triton_stream

WAIT_S = 240
LONG = {"max_tokens": 1900, "ignore_eos": True, "messages": [{"role": "user", "content": "hi"}]}


def nothing_is_left(stack: Stack, model: str) -> None:
    """Wait until the engine's own counters show no live request and no KV block in use."""
    deadline = time.monotonic() + WAIT_S
    while True:
        live = stack.engine_metric("conch_engine_requests", model=model, state="live")
        blocks = stack.engine_metric("conch_engine_kv_cache_utilization", model=model)
        if live == blocks == 0:
            return
        assert time.monotonic() < deadline, f"{live} requests are live, {blocks:.1%} of the KV cache is held"
        time.sleep(0.02)


def is_live(stack: Stack, model: str) -> bool:
    return stack.engine_metric("conch_engine_requests", model=model, state="live") > 0


async def wait_live(stack: Stack, model: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not await asyncio.to_thread(is_live, stack, model):
        assert time.monotonic() < deadline, "the request never reached the engine"


@pytest.mark.parametrize("model", ["demo", "replay"])
@pytest.mark.parametrize("stream", [True, False], ids=["mid-stream", "while waiting"])
def test_a_client_that_disconnects_frees_the_engine(stack: Stack, model: str, stream: bool) -> None:
    async def leave() -> None:
        body = {**LONG, "model": model, "stream": stream}
        async with httpx.AsyncClient(timeout=WAIT_S) as client:
            call = asyncio.create_task(client.post(f"{stack.gateway}/v1/chat/completions", json=body))
            await wait_live(stack, model)
            call.cancel()

    before = stack.engine_metric("conch_engine_requests_ended_total", model=model, outcome="cancelled")
    asyncio.run(leave())
    nothing_is_left(stack, model)
    assert stack.engine_metric("conch_engine_requests_ended_total", model=model, outcome="cancelled") == before + 1


def test_after_two_hundred_random_disconnects_nothing_is_running_and_no_block_is_held(stack: Stack) -> None:
    chance = random.Random(11)

    async def visit(client: httpx.AsyncClient, gate: asyncio.Semaphore) -> None:
        body = {**LONG, "model": "demo", "stream": chance.random() < 0.7, "n": chance.choice([1, 1, 1, 3])}
        async with gate:
            call = asyncio.create_task(client.post(f"{stack.gateway}/v1/chat/completions", json=body))
            await asyncio.wait({call}, timeout=chance.choice([0, 0.001, 0.01, 0.05, 0.2]))
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    async def crowd() -> None:
        gate = asyncio.Semaphore(16)
        async with httpx.AsyncClient(timeout=WAIT_S) as client:
            await asyncio.gather(*(visit(client, gate) for _ in range(200)))

    asyncio.run(crowd())
    nothing_is_left(stack, "demo")
    # The proof that the counters do not lie: a request as long as the context still finds its blocks.
    with triton_stream(stack.triton_grpc) as stream:
        stream.send(
            "demo_engine", [row("input_ids", "INT32", [5] * 2000), row("max_tokens", "INT32", [48])], ignore_eos=True
        )
        (result,) = stream.until_final()
    assert result.as_numpy("token_counts")[0].tolist() == [2000, -1, 48]
