"""Several asynchronous generators read as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeAlias, TypeVar

Item = TypeVar("Item")
_Entry: TypeAlias = Item | Exception | None  # None: one source has ended


async def merge(sources: Sequence[AsyncGenerator[Item, None]]) -> AsyncGenerator[Item, None]:
    """The items of all sources as they arrive. The first failure of one is raised, and the others are closed."""
    # Bounded: a slow reader makes the sources wait.
    queue: asyncio.Queue[_Entry[Item]] = asyncio.Queue(maxsize=len(sources))
    tasks = [asyncio.create_task(_pump(source, queue)) for source in sources]
    num_open = len(tasks)
    try:
        while num_open:
            entry = await queue.get()
            if entry is None:
                num_open -= 1
            elif isinstance(entry, Exception):
                raise entry
            else:
                yield entry
    finally:
        for task in tasks:
            task.cancel()


async def _pump(source: AsyncGenerator[Item, None], queue: asyncio.Queue[_Entry[Item]]) -> None:
    try:
        async with aclosing(source):
            async for item in source:
                await queue.put(item)
    except Exception as error:  # noqa: BLE001  # not handled here but carried to the reader, who raises it
        await queue.put(error)
    else:
        await queue.put(None)
