"""A response of server-sent events.

sse-starlette's EventSourceResponse costs a short stream a fifth more of the gateway's CPU even without its tasks for
pings and disconnects: it has a cancel scope for each event. Here a stream costs neither a task nor a timer, and an
event costs its write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from starlette.types import Send

PING: Final = b": ping\n\n"

# Proxies must neither keep the events nor wait for more of them.
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class Heartbeat:
    """Sends a comment on every stream that has sent nothing for `interval_s` (0 = never), at the latest after twice
    that, so that no proxy closes it as idle. One clock for all: a timer for each costs a short stream 5 % of its CPU.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._streams: set[EventStream] = set()

    async def run(self) -> None:
        while self._interval_s:
            await asyncio.sleep(self._interval_s)
            for stream in self._streams:
                stream.beat()

    def add(self, stream: EventStream) -> None:
        self._streams.add(stream)

    def remove(self, stream: EventStream) -> None:
        self._streams.discard(stream)


class EventStream:
    """A response whose status is out as soon as it is entered; pass its last bytes to `end`.

    Attributes:
        has_begun: its status is out, or on its way.
    """

    def __init__(self, send: Send, headers: Mapping[str, str], heartbeat: Heartbeat, ping: bytes = PING) -> None:
        self._send = send
        self._ping_bytes = ping
        self._headers = [*_HEADERS, *((name.encode(), value.encode()) for name, value in headers.items())]
        self._heartbeat = heartbeat
        self._silent = self.has_begun = False
        self._ping: asyncio.Task[None] | None = None
        self._may_begin: Callable[[], bool] = lambda: True

    @contextmanager
    def expected(self, may_begin: Callable[[], bool]) -> Iterator[None]:
        """Around the wait for what it is to say first: a silence in which it `may_begin` begins it, with a ping.

        Its status is then out, so an error afterwards can have none of its own.
        """
        self._may_begin = may_begin
        self._heartbeat.add(self)
        try:
            yield
        except BaseException:
            self._end_beats()
            raise
        self._heartbeat.remove(self)

    async def __aenter__(self) -> EventStream:
        if self._ping is not None:
            await self._ping
        await self._begin()
        self._heartbeat.add(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end_beats()

    def _end_beats(self) -> None:
        self._heartbeat.remove(self)
        if self._ping is not None:
            self._ping.cancel()

    async def _begin(self) -> None:
        if not self.has_begun:
            self.has_begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})

    async def send(self, events: bytes) -> None:
        if events:
            self._silent = False
            await self._write(events)

    async def end(self, events: bytes) -> None:
        await self._write(events, more=False)

    async def _write(self, data: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def beat(self) -> None:
        """Send a ping, in the background, if nothing was sent since the last beat."""
        if self._silent and (self._ping is None or self._ping.done()) and (self.has_begun or self._may_begin()):
            self._ping = asyncio.create_task(self._write_ping())
        self._silent = True

    async def _write_ping(self) -> None:
        await self._begin()
        await self._write(self._ping_bytes)


def described_events(data: Mapping[str, Any], *, end: str | None = None) -> dict[str, Any]:
    """The schema of each server-sent event, for the API's description, as OpenAPI 3.2 writes it.

    Args:
        data: that of their data, which is JSON.
        end: the data of the last event, where that is no JSON.
    """
    content: dict[str, Any] = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    any_data = content if end is None else {"anyOf": [content, {"const": end}]}
    return {"type": "object", "required": ["data"], "properties": {"event": {"type": "string"}, "data": any_data}}
