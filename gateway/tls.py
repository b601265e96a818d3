"""TLS: the certificate of the port, and the handshakes of its clients.

A connection is one of `Connections` from when it is accepted, so that clients that never finish their handshake are
bounded in number as all others are, and not in time alone.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gateway.http.connections import Connections
from gateway.http.slow_clients import HEAD_TIMEOUT_S, LINGER_S

HANDSHAKE_TIMEOUT_S = HEAD_TIMEOUT_S

_PAUSE_S: Final = 0.1  # where no file is left for a connection


def check_certificate(cert: Path, key: Path) -> None:
    """
    Raises:
        OSError: they are no certificate chain and its private key (ssl.SSLError is one), or cannot be read.
    """
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)


class TlsServer:
    """As asyncio's Server, on sockets that listen; a `protocol` gets its connection once the handshake is complete.

    asyncio's own tells nobody of the handshakes that it has begun.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        context: ssl.SSLContext,
        connections: Connections,
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self.sockets = tuple(sockets)
        self._context = context
        self._connections = connections
        self._protocol = protocol
        self._handshakes: set[_Handshake] = set()
        for listener in self.sockets:
            listener.setblocking(False)
            self._listen(listener)

    def close(self) -> None:
        for listener in self.sockets:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        for handshake in tuple(self._handshakes):
            handshake.abort()

    async def wait_closed(self) -> None:
        """The server has no connection of its own: its protocols have them."""

    def _listen(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # too many files are open
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(_PAUSE_S, self._listen, listener)
            return
        client.setblocking(False)
        handshake = _Handshake(self._protocol, self._forget)
        handshake.task = asyncio.get_running_loop().create_task(self._complete(handshake, client))
        handshake.task.add_done_callback(lambda _: self._forget(handshake))
        self._handshakes.add(handshake)
        self._connections.add(handshake)

    async def _complete(self, handshake: _Handshake, client: socket.socket) -> None:
        with suppress(OSError):  # no TLS, or none that both sides speak; the client left, or took too long
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: handshake,
                client,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=LINGER_S,
            )

    def _forget(self, handshake: _Handshake) -> None:
        self._handshakes.discard(handshake)
        self._connections.remove(handshake)


class _Handshake(asyncio.Protocol):
    """What a connection is until its `protocol` has it."""

    task: asyncio.Task[None]

    def __init__(self, protocol: Callable[[], asyncio.Protocol], forget: Callable[[_Handshake], None]) -> None:
        self._protocol = protocol
        self._forget = forget

    def connection_made(self, transport: Any) -> None:
        """The handshake is complete."""
        self._forget(self)
        protocol = self._protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def abort(self) -> None:
        self.task.cancel()
