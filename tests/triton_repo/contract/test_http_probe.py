"""Questions to a server over HTTP, on a port or on a socket."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from triton_repo.contract.http_probe import ProbeAnswer, probe


@pytest.mark.parametrize("name", ["http", "a:b", "v:/2"])
def test_a_server_on_a_socket_is_asked_wherever_the_socket_lies(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    asked: list[bytes] = []

    def answer(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            asked.append(client.recv(65536))
            client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nup")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)  # it waits for ever if none asks
        thread.start()
        assert probe(f"unix:{path}:/v2/health/live", timeout_s=120) == ProbeAnswer(200, b"up")
        thread.join()
    assert asked[0].startswith(b"GET /v2/health/live HTTP/1.1\r\n")
