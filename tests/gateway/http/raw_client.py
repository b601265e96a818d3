"""Raw connections to a gateway: requests as bytes, and what comes back."""

from __future__ import annotations

import socket

from tests.gateway.bodies import CHAT, chat
from tests.gateway.server import Running

JAVA = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
HEAD = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%b" % (CHAT.encode(), JAVA)
LIVE = b"GET /health/live HTTP/1.1\r\nhost: x\r\n%b\r\n"
LIVE_ANSWER = b'{"status":"live"}'


def connect(gateway: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=120)


def answer(client: socket.socket, end: bytes) -> bytes:
    """What comes until `end`."""
    came = b""
    while not came.endswith(end):
        more = client.recv(65536)
        assert more, came
        came += more
    return came


def received_until(client: socket.socket, text: bytes, times: int = 1) -> bytes:
    """What comes until it contains `text` that often."""
    came = b""
    while came.count(text) < times:
        more = client.recv(65536)
        assert more, came
        came += more
    return came


def received_to_the_end(client: socket.socket) -> bytes:
    came = b""
    while more := client.recv(65536):
        came += more
    return came


def streamed(headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    """A request for a stream."""
    body = chat(stream=True)
    head = b"POST %b HTTP/%b\r\nhost: x\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    return head % (CHAT.encode(), version, headers, len(body)) + body


def whole() -> bytes:
    return HEAD + b"content-length: %d\r\n\r\n%b" % (len(chat()), chat())


def responses(came: bytes) -> list[bytes]:
    """Bodies of the responses on a connection, by their framing alone."""
    bodies = []
    while came:
        head, _, came = came.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        body = b""
        if b"transfer-encoding: chunked" in head:
            while size := int(came.partition(b"\r\n")[0], 16):
                came = came.partition(b"\r\n")[2]
                body, came = body + came[:size], came[size + 2 :]
            came = came.removeprefix(b"0\r\n\r\n")
        else:
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body, came = came[:length], came[length:]
        bodies.append(body)
    return bodies
