"""A request to a model that is no engine, while it is open."""

from __future__ import annotations

import asyncio

import pytest

from gateway.answers.inference.models import OpenInference
from triton_repo.contract.errors import RequestTimedOut


@pytest.mark.parametrize("num_steps", [0, 1])
def test_what_is_ended_twice_ends_with_the_first_error(num_steps: int) -> None:
    released: list[OpenInference] = []

    async def run() -> None:
        inference = OpenInference(released.append)

        async def ask() -> None:
            async with inference:
                await asyncio.Event().wait()

        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)
        inference.stop_engines(RequestTimedOut("too late"))
        for _ in range(num_steps):
            await asyncio.sleep(0)
        inference.stop_engines()  # as the shutdown does
        with pytest.raises(RequestTimedOut, match="too late"):
            await asking
        assert released == [inference]

    asyncio.run(run())
