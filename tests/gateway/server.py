"""A real gateway on a free port, in a thread of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.__main__ import Server
from gateway.app import create_app
from gateway.backend import Backend
from gateway.settings import Settings


class Running:
    """A served gateway: its address, and how to begin its shutdown."""

    def __init__(self, server: Server, port: int) -> None:
        self._server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def begin_shutdown(self) -> None:
        self._server.should_exit = True


@contextmanager
def serving(backend: Backend, **settings: Any) -> Iterator[Running]:
    checked = Settings(**{"sse_ping_interval_s": 0, "shutdown_grace_s": 0, **settings})
    server = Server(create_app(checked, backend), checked)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Running(server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()
