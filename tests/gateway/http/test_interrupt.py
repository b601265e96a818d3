"""A block that others may end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.http.interrupt import Interruptible


class Enough(Exception):
    """Why a block is to end."""


def run(interrupter: Callable[[Interruptible], Any], work: Callable[[], Coroutine[Any, Any, Any]]) -> list[str]:
    """What happens when `interrupter` runs while `work` is in the block; the task goes on to await afterwards."""
    happened = []

    async def main() -> None:
        try:
            async with Interruptible() as block:
                asyncio.get_running_loop().call_soon(interrupter, block)
                await work()
                happened.append("worked")
        except Enough as error:
            happened.append(f"ended by {error}")
        await asyncio.sleep(0.01)
        happened.append("went on")

    asyncio.run(asyncio.wait_for(main(), timeout=120))
    return happened


async def sleep_long() -> None:
    await asyncio.sleep(60)


async def shrug_off() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)


async def run_into_the_interruption() -> None:
    await asyncio.sleep(0)


def test_an_interruption_ends_the_block_with_its_error_and_cancels_nothing_else() -> None:
    assert run(lambda block: block.interrupt(Enough("a")), sleep_long) == ["ended by a", "went on"]


def test_the_first_of_two_interruptions_counts() -> None:
    def twice(block: Interruptible) -> None:
        block.interrupt(Enough("a"))
        block.interrupt(Enough("b"))

    assert run(twice, sleep_long) == ["ended by a", "went on"]


@pytest.mark.parametrize("work", [shrug_off, run_into_the_interruption])
def test_a_block_that_ends_meanwhile_leaves_no_cancellation(work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    happened = run(lambda block: block.interrupt(Enough("a")), work)
    assert happened[-1] == "went on"


def test_whoever_else_cancels_the_task_is_not_overruled() -> None:
    async def main() -> None:
        task = asyncio.create_task(hang())
        await asyncio.sleep(0)
        block = blocks[0]
        block.interrupt(Enough("a"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def hang() -> None:
        async with Interruptible() as block:
            blocks.append(block)
            await asyncio.sleep(60)

    blocks: list[Interruptible] = []
    asyncio.run(main())


@pytest.mark.parametrize("ends", ["by itself", "by an error of its own"])
def test_a_block_that_does_not_pass_the_cancellation_on_leaves_none(ends: str) -> None:
    async def main() -> int:
        with contextlib.suppress(KeyError):
            async with Interruptible() as block:
                asyncio.get_running_loop().call_soon(block.interrupt, Enough("a"))
                await shrug_off()
                if ends != "by itself":
                    raise KeyError
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0


def test_an_interruption_after_the_end_is_none() -> None:
    async def main() -> None:
        async with Interruptible() as block:
            pass
        block.interrupt(Enough("a"))
        await asyncio.sleep(0)

    asyncio.run(main())


def test_the_cancellation_of_the_task_is_still_one() -> None:
    async def main() -> None:
        task = asyncio.create_task(hang())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def hang() -> None:
        async with Interruptible():
            await asyncio.sleep(60)

    asyncio.run(main())
