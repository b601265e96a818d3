"""A client that goes away ends the work on its request."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from gateway.http.interrupt import Interruptible


class UnlessDisconnected(Interruptible):
    """`async with UnlessDisconnected(receive):` ends the block by a ClientDisconnect when the client disconnects.

    The request's body must have been read. One task watches, whatever the block does: nothing is paid per event.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watcher.cancel()
        del self._watcher  # or the two hold each other, and all of the request, until the garbage collector comes
        await super().__aexit__(kind, error, traceback)

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.interrupt(ClientDisconnect())
