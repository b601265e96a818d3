"""A block that ends when its client disconnects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from gateway.http.cancellation import UnlessDisconnected


class Client:
    """What the server tells of a client: nothing, until it `leaves`."""

    def __init__(self) -> None:
        self._left = asyncio.Event()

    def leaves(self) -> None:
        self._left.set()

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}


async def sleep_long() -> None:
    await asyncio.sleep(60)


async def ignore_the_cancellation() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)


async def fail_when_cancelled() -> None:
    await ignore_the_cancellation()
    raise KeyError("its own")


async def end_at_once() -> None:
    await asyncio.sleep(0)


def outcome(work: Callable[[], Awaitable[None]]) -> str:
    """How a block ends whose client leaves while it works; the task must be able to go on afterwards."""

    async def main() -> str:
        client, end = Client(), "ended by itself"
        try:
            async with UnlessDisconnected(client.receive):
                asyncio.get_running_loop().call_soon(client.leaves)
                await work()
        except (ClientDisconnect, KeyError) as error:
            end = type(error).__name__
        client.leaves()
        await asyncio.sleep(0.01)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        return end

    return asyncio.run(asyncio.wait_for(main(), timeout=60))


@pytest.mark.parametrize(
    ("work", "end"),
    [
        (sleep_long, "ClientDisconnect"),
        (ignore_the_cancellation, "ended by itself"),
        (fail_when_cancelled, "KeyError"),
        (end_at_once, "ended by itself"),
    ],
)
def test_a_disconnect_ends_the_block_and_nothing_after_it(work: Callable[[], Awaitable[None]], end: str) -> None:
    assert outcome(work) == end


@pytest.mark.parametrize("leaves", [False, True])
def test_a_cancellation_from_elsewhere_is_still_one(leaves: bool) -> None:
    async def main() -> None:
        client = Client()

        async def hang() -> None:
            async with UnlessDisconnected(client.receive):
                await asyncio.sleep(60)

        task = asyncio.create_task(hang())
        await asyncio.sleep(0)
        if leaves:
            client.leaves()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
