"""A client that disconnects ends the work on its request."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.requests import ClientDisconnect
from starlette.types import Receive


class UnlessDisconnected:
    """`async with UnlessDisconnected(receive):` ends the block with ClientDisconnect once the client disconnects.

    The request's body must have been read. It is an `asyncio.timeout` that a watching task makes expire, so that other
    cancellations of the block's task keep their meaning. Nothing is paid per event.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._block = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._block.__aenter__()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watcher.cancel()
        del self._watcher  # or the two hold each other, and all of the request, until the garbage collector comes
        try:
            await self._block.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise ClientDisconnect from None

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._block.reschedule(0)  # long ago
