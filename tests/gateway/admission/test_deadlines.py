"""One timer for all deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from gateway.admission.deadlines import Deadlines


def test_each_expires_once_in_the_order_of_their_times_and_a_cancelled_one_never() -> None:
    expired: list[str] = []

    async def run() -> None:
        deadlines, now_s = Deadlines(), asyncio.get_running_loop().time()
        over = asyncio.Event()
        deadlines.add(now_s + 0.06, over.set)
        cancelled = deadlines.add(now_s + 0.01, lambda: expired.append("cancelled"))
        deadlines.add(now_s + 0.02, lambda: expired.append("first"))
        deadlines.add(now_s + 0.02, lambda: expired.append("second"))
        cancelled.cancel()
        cancelled.cancel()
        await asyncio.wait_for(over.wait(), 60)

    asyncio.run(run())
    assert expired == ["first", "second"]


def test_what_has_expired_is_kept_no_longer() -> None:
    async def run() -> None:
        deadlines, over = Deadlines(), asyncio.Event()
        deadline = deadlines.add(asyncio.get_running_loop().time(), over.set)
        await asyncio.wait_for(over.wait(), 60)
        assert deadline.expire is None

    asyncio.run(run())


def test_what_is_cancelled_is_not_kept_until_its_time() -> None:
    async def run() -> None:
        deadlines = Deadlines()
        for _ in range(10_000):
            deadlines.add(asyncio.get_running_loop().time() + 3600, lambda: None).cancel()
        assert len(deadlines._heap) < 200
        deadlines.close()

    asyncio.run(run())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_is_due_already_expires_and_others_can_be_added_meanwhile(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    expired: list[str] = []

    async def run() -> None:
        deadlines, now_s = Deadlines(), asyncio.get_running_loop().time()
        over = asyncio.Event()
        deadlines.add(now_s - 1, lambda: expired.append("due"))
        deadlines.add(now_s - 2, lambda: expired.append("due for longer"))
        deadlines.add(now_s + 0.01, over.set)
        await asyncio.wait_for(over.wait(), 60)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())
    assert expired == ["due for longer", "due"]
