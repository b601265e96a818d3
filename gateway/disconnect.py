"""A client that goes away ends the work on its request."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive


class UnlessDisconnected:
    """`async with UnlessDisconnected(receive):` cancels the block when the client disconnects.

    The request's body must have been read. One task watches, whatever the block does: nothing is paid per event.

    Raises:
        ClientDisconnect: from the block, in place of the cancellation.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False

    async def __aenter__(self) -> None:
        self._work: asyncio.Task[Any] | None = asyncio.current_task()
        self._watcher = asyncio.create_task(self._watch())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watcher.cancel()
        if not self._gone:
            return
        if kind is None:  # the block ended by itself while its cancellation was on the way: it is still to be caught
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                kind = asyncio.CancelledError
        if kind is asyncio.CancelledError:
            if self._work is not None and hasattr(self._work, "uncancel"):  # Python 3.11
                self._work.uncancel()
            raise ClientDisconnect from None

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._work is not None:
            self._work.cancel()
