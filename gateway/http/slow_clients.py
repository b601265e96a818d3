"""Limits on the time that clients take to send and to read, and on that after their connection's last response."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

HEAD_TIMEOUT_S: Final = 10.0
SEND_TIMEOUT_S: Final = 15.0  # to take about 50 kB, when that much waits
LINGER_S: Final = 3.0  # for a client that is told to close the connection
GONE_S: Final = 45.0  # for a client's machine to acknowledge what it was sent, or that it is there
_PROBE_AFTER_S, _PROBE_EVERY_S = 15, 10  # of a connection on which nothing comes


def notice_the_gone(listener: Any) -> None:
    """Have connections to this TCP socket end, and what they ask for with them, where the client's machine has gone
    without a word: it was suspended or cut off. Linux hands it down from a listener to its connections."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_EVERY_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * GONE_S))


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


class SlowClientLimits(asyncio.Protocol):
    """Closes connections that stall while they send headers or while they should read."""

    transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._send_timer, self._head_timer, self._end_timer = _Timer(), _Timer(), _Timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._send_timer.stop()
        self._head_timer.stop()
        self._end_timer.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_timer.start(SEND_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._send_timer.stop()

    def _await_head(self) -> None:
        self._head_timer.start(HEAD_TIMEOUT_S, self.transport.close)

    def _await_end(self) -> None:
        self._end_timer.start(LINGER_S, self.transport.abort)


class Lingering:
    """A transport whose `close` ends only what is sent: `then` has the rest to end.

    To close a socket with unread input resets the connection, and a client that is still sending may never see the
    response.
    """

    def __init__(self, transport: asyncio.Transport, then: Callable[[], None]) -> None:
        self._transport = transport
        self._then = then

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        if not self._transport.is_closing():
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._then()
