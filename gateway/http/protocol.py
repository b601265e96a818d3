"""uvicorn's HTTP/1.1 protocol, whose connections have limits, with plain answers to Upgrade requests.

A client that closes its sending side (`shutdown(SHUT_WR)`) counts as disconnected, as with uvicorn, nginx and Go: it is
how a client that has left is noticed before anything is written to it, and an engine must not work for those.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.http.connections import ONLY_HEALTH, Connections
from gateway.http.slow_clients import Lingering, SlowClientLimits

MAX_HEAD_BYTES: Final = 64 * 1024  # of request line and headers, when they come in several reads
MAX_PIPELINED_BYTES: Final = 64 * 1024  # read ahead of the response in progress
MAX_IGNORED_BYTES: Final = 16 * 2**20  # of a body whose request is answered already

_PARSED_AT_ONCE: Final = 4096  # bytes, so that one read cannot hold thousands of small requests
_REJECTION: Final = b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_UPGRADE_HEADERS: Final = (b"upgrade", b"http2-settings")


class HttpProtocol(SlowClientLimits, HttpToolsProtocol):
    """One of the `connections` of the process, whose requests are answered one after the other.

    A request that comes before the response to the one before it is complete waits in uvicorn's `pipeline`. What comes
    after that is kept unparsed, but still read, up to MAX_PIPELINED_BYTES: else nothing would notice that the client
    has left. Input that cannot be parsed ends the connection, after the responses to what came before it; so does a
    response that begins before the body of its request is there.
    """

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_bytes = 0  # of headers, or of trailers and the like between chunks, that are not complete
        self._reads_head = False
        self._reads_body = False  # whether the last read brought a part of one
        self._answered: RequestResponseCycle | None = None  # now, or last
        self._unparsed = bytearray()
        self._ignores_input = False
        self._ignored_bytes = 0
        self._await_head()
        self._serves_all = self._connections.add(self)

    def abort(self) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        answered = self._answered
        if answered is not None and answered is not self.cycle:  # uvicorn tells only the newest request
            answered.disconnected = not answered.response_complete
            answered.message_event.set()
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._ignores_input:
            self._ignore(len(data))
            return
        rest = memoryview(data)
        self._reads_body = False
        try:
            while rest and not self.pipeline:
                rest = rest[self._parse(rest[:_PARSED_AT_ONCE]) :]
        except (HttpParserError, HttpParserUpgrade):  # the latter for CONNECT, which is nothing without its upgrade
            self._reject(b"400 Bad Request")
            return
        if self.pipeline:
            self._keep_unparsed(rest)
        elif self._reads_head or self._reads_between_chunks:
            self._bound_head(len(data))
        elif not self._responding:
            self._await_head()  # a stray line, or the rest of a body whose request is answered: no state lasts for ever

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reads_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers are left out: uvicorn would add them to the headers of the request, without an end."""
        if self._reads_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._reads_head = False
        self._head_bytes = 0
        self._head_timer.stop()
        if self.url.startswith(b"//"):  # httptools would take `v1` of `//v1/models` for a host
            self.url = b"/" + self.url.lstrip(b"/")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._reads_body = True
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        unparsed, self._unparsed = self._unparsed, bytearray()
        if self.transport.is_closing():
            return
        if not self._responding:  # uvicorn has begun with what waited, if anything did
            self._connections.set_idle(self)
        if unparsed:
            self.data_received(bytes(unparsed))
        elif self._reads_head:
            self._await_head()

    @property
    def _responding(self) -> bool:
        return self._answered is not None and not self._answered.response_complete

    @property
    def _reads_between_chunks(self) -> bool:
        """Bytes of a body arrive that are no content of it: extensions of a chunk, or trailers."""
        return self.cycle is not None and self.cycle.more_body and not self._reads_body  # type: ignore[redundant-expr]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        self._connections.set_busy(self)
        if not self._serves_all:
            cycle.scope[ONLY_HEALTH] = True  # type: ignore[typeddict-unknown-key]
        if cycle.scope["http_version"] == "1.0":
            cycle.chunked_encoding = False
            app = partial(_without_chunks, cycle, app)
        super()._start_asgi_task(cycle, partial(self._answer, cycle, app))

    async def _answer(self, cycle: RequestResponseCycle, app: Any, scope: Scope, receive: Receive, send: Send) -> None:
        """End the connection with a response that begins before the request's body has all arrived."""

        async def send_and_end(message: Message) -> None:
            if message["type"] == "http.response.start" and cycle.more_body:
                cycle.keep_alive = False  # uvicorn says so in a header, and closes the transport after the response
                cycle.transport = cast("asyncio.Transport", Lingering(self.transport, self._await_end))
            await send(message)

        await app(scope, receive, send_and_end if cycle.more_body else send)

    def _ignore(self, num_bytes: int) -> None:
        self._ignored_bytes += num_bytes
        if self._ignored_bytes > MAX_IGNORED_BYTES:
            self.abort()

    def _await_end(self) -> None:
        """The response is complete, and the client told to close. What it still sends is read, and left."""
        self._ignores_input = True
        self.flow.resume_reading()
        super()._await_end()

    def _should_upgrade(self) -> bool:
        return True  # such a request is not begun by uvicorn, but by `_begin_without_upgrade`

    def _parse(self, data: memoryview) -> int:
        """The number of bytes that were parsed."""
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._begin_without_upgrade()
            return int(upgrade.args[0])
        return len(data)

    def _begin_without_upgrade(self) -> None:
        """Begin the request whose head the parser has just read, as if it offered no upgrade.

        A server may ignore an upgrade (RFC 9110, 7.8), and Java's HttpClient offers h2c with every first request. But
        httptools would take the body of such a request for the next one, so a new parser gets the head without the
        offer, and goes on from there.
        """
        head = [self.scope["method"].encode(), b" ", self.url, f" HTTP/{self.scope['http_version']}\r\n".encode()]
        for name, value in self.headers:
            if name not in _UPGRADE_HEADERS:
                head += [name, b": ", _without_upgrade(value) if name == b"connection" else value, b"\r\n"]
        self.parser = HttpRequestParser(self)
        self.parser.feed_data(b"".join([*head, b"\r\n"]))

    def _keep_unparsed(self, data: memoryview) -> None:
        self._unparsed += data
        if len(self._unparsed) > MAX_PIPELINED_BYTES:
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()

    def _bound_head(self, num_bytes: int) -> None:
        self._head_bytes += num_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            self._reject(b"431 Request Header Fields Too Large")
        elif not self._responding:
            self._await_head()

    def _reject(self, status: bytes) -> None:
        """Close for input that is no request: after the responses to what came before it, or else with `status`."""
        self._ignores_input = True
        if self.pipeline and self.cycle.more_body:
            self.pipeline.popleft()  # the one that is broken
        last = self.pipeline[0][0] if self.pipeline else self._answered
        if last is not None and not last.response_complete and not last.more_body:
            last.keep_alive = False
            return
        if last is None or last.response_complete or not last.response_started:
            self.transport.write(_REJECTION % status)
        self.transport.close()


def _without_upgrade(connection: bytes) -> bytes:
    """The value of a connection header, without the names of what belongs to an upgrade."""
    tokens = (token.strip() for token in connection.split(b","))
    return b", ".join(token for token in tokens if token.lower() not in _UPGRADE_HEADERS)


async def _without_chunks(cycle: RequestResponseCycle, app: Any, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer HTTP/1.0, which knows no chunks: a body of unknown length ends with the connection (RFC 9112, 6.3)."""

    async def send_plainly(message: Message) -> None:
        if message["type"] == "http.response.body":
            cycle.expected_content_length += len(message.get("body", b""))
        await send(message)

    await app(scope, receive, send_plainly)
