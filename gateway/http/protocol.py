"""HTTP/1.1 as uvicorn speaks it, for clients that mean no good, and without the upgrades that some offer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import h11
from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_TIMEOUT_S: Final = 10.0
MAX_HEAD_BYTES: Final = 64 * 1024  # of request line and headers, when they come in several reads
SEND_TIMEOUT_S: Final = 60.0  # to take about 50 kB, when that much waits

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_OF_THE_UPGRADE: Final = (b"upgrade", b"connection", b"http2-settings")


class _Timer:
    """Calls `then` after `delay_s`, unless it is stopped before."""

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    def start(self, delay_s: float, then: Callable[[], None]) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(delay_s, then)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class _Impatient(asyncio.Protocol):
    """Ends the connection of a client that does not read, or whose head does not come: each would hold on for ever."""

    transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._send_timer, self._head_timer = _Timer(), _Timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._send_timer.stop()
        self._head_timer.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_timer.start(SEND_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._send_timer.stop()

    def _await_head(self) -> None:
        self._head_timer.start(HEAD_TIMEOUT_S, self.transport.close)


class _Successor(_Impatient, H11Protocol):
    """h11 bounds the size of a head by itself."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:  # between two requests, and yet something has come
            self._await_head()
        else:
            self._head_timer.stop()


class HttpProtocol(_Impatient, HttpToolsProtocol):
    """One connection. A head that is too large is answered with 431; one that does not come ends the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_bytes = 0  # of a head that is not whole
        self._reads_head = False
        self._await_head()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
            return
        except HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._reads_head:
            self._bound_head(len(data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reads_head = True

    def on_headers_complete(self) -> None:
        self._reads_head = False
        self._head_bytes = 0
        self._head_timer.stop()
        super().on_headers_complete()

    def _should_upgrade(self) -> bool:
        return True  # that is: such a request does not begin before `_go_on_without_upgrade`

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """A server may ignore an upgrade (RFC 9110, 7.8), but httptools drops the body of who offers one.

        Java's HttpClient offers h2c with every first request. From here on h11 reads the connection.
        """
        head = [self.scope["method"].encode(), b" ", self.url, f" HTTP/{self.scope['http_version']}\r\n".encode()]
        for name, value in self.headers:
            if name not in _OF_THE_UPGRADE:
                head += [name, b": ", value, b"\r\n"]
        self.connections.discard(self)
        successor = _Successor(self.config, self.server_state, self.app_state)
        successor.connection_made(self.transport)
        self.transport.set_protocol(successor)
        successor.data_received(b"".join([*head, b"\r\n", rest]))

    def _bound_head(self, num_bytes: int) -> None:
        self._head_bytes += num_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.write(_TOO_LARGE)
            self.transport.close()
        else:
            self._await_head()
