"""A real gateway on a free port, in a thread of its own."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.answers.backend import Backend
from gateway.app import create_app
from gateway.processes.server import Server
from gateway.settings import Settings


class Running:
    """A served gateway: its address, and how to begin its shutdown."""

    def __init__(self, server: Server, port: int) -> None:
        self._server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def begin_shutdown(self) -> None:
        self._server.should_exit = True

    def post_unread(self, path: str, content: bytes) -> socket.socket:
        """A request whose answer nobody reads yet."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=120)
        head = b"POST %b HTTP/1.1\r\nhost: x\r\n" % path.encode()
        head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(content)
        client.sendall(head + content)
        return client

    def interrupt(self) -> None:
        """What the process does on SIGINT."""
        self._server.handle_exit(signal.SIGINT, None)


@contextmanager
def serving(backend: Backend, **settings: Any) -> Iterator[Running]:
    checked = Settings(**{"sse_ping_interval_s": 0, "shutdown_grace_s": 0, "allowed_hosts": ("x",), **settings})
    server = Server(create_app(checked, backend), checked)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Running(server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(timeout=120)
            assert not thread.is_alive()
