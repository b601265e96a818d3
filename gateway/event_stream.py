"""A response of server-sent events.

sse-starlette's EventSourceResponse runs four tasks for each stream and a cancel scope for each event, which was a
quarter of the gateway's CPU on short streams. Here a stream costs one task and one timer, and an event costs its
write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractContextManager, aclosing, suppress
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.disconnect import UnlessDisconnected
from gateway.sse import PING

# Proxies must neither keep the events nor wait for more of them.
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


class EventStream(Response):
    """An answer's events as they come; leaves `open_until_end` however the connection ends.

    A stream that says nothing for `ping_interval_s` (0 = never) sends a comment, so that no proxy takes it for dead.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        open_until_end: AbstractContextManager[object],
        headers: Mapping[str, str],
        ping_interval_s: float,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({**_HEADERS, **headers})
        self._events = events
        self._open_until_end = open_until_end
        self._ping_interval_s = ping_interval_s
        self._silent = True

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        heartbeat = asyncio.create_task(self._beat(send)) if self._ping_interval_s else None
        try:
            # The status is out, so that nobody is to be told of a disconnect but what is left here.
            with suppress(ClientDisconnect), self._open_until_end:
                async with UnlessDisconnected(receive):
                    await self._write(send)
        finally:
            if heartbeat is not None:
                heartbeat.cancel()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._events):
            async for data in self._events:
                self._silent = False
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self, send: Send) -> None:
        while True:
            self._silent = True
            await asyncio.sleep(self._ping_interval_s)
            if self._silent:
                await send({"type": "http.response.body", "body": PING, "more_body": True})
