"""The responses that this process is working on without a client, and how they come to an early end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Final

from gateway.answers.byte_budget import ByteBudget, Share
from gateway.store.responses import ResponseStore
from triton_repo.contract.errors import RequestError

logger = logging.getLogger(__name__)

_LOOK_S: Final = 0.5


class Work:
    """A task for each response. One that another process cancels or deletes in the store is ended soon after.

    Args:
        max_bytes: of the prompts of all, if they are large.
    """

    def __init__(self, responses: ResponseStore, max_bytes: int) -> None:
        self._responses = responses
        self._prompts = ByteBudget(max_bytes)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def share(self) -> Share:
        """Of the bytes of their prompts."""
        return self._prompts.share()

    def start(self, id: str, work: Coroutine[None, None, None], share: Share) -> None:
        """`share` is given back at its end."""
        task = self._tasks[id] = asyncio.create_task(work)
        task.add_done_callback(partial(self._ended, id, share))
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    def cancel(self, id: str) -> None:
        """End the work at once, if it is this process's."""
        task = self._tasks.get(id)
        if task is not None and not task.cancelling():
            task.cancel()

    async def close(self) -> None:
        """End all of it."""
        tasks = [*self._tasks.values()]
        for id in [*self._tasks]:
            self.cancel(id)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._watching is not None:
            self._watching.cancel()

    def _ended(self, id: str, share: Share, task: asyncio.Task[None]) -> None:
        del self._tasks[id]
        share.set(0)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a response in the background ended with an error", exc_info=error)

    async def _watch(self) -> None:
        while self._tasks:
            await asyncio.sleep(_LOOK_S)
            with suppress(RequestError):  # the store has said why; it is looked at again
                for id in await self._responses.ended([*self._tasks]):
                    self.cancel(id)
