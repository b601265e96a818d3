"""The gateway's own HTTP protocol: heads, bodies, chunks and trailers, in reads of any size."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from gateway.http.connections import Connections
from gateway.http.protocol import MAX_HEAD_BYTES, MAX_PIPELINED_BYTES, HttpProtocol
from tests.fuzz.target import Target


class Wire(asyncio.Transport):
    """A connection without a socket: keeps what is sent, and counts what its protocol holds of what came."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.ended = False
        self.reads = True

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.ended = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        return self.ended

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


async def _echo_length(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers at once on one path, and on the others after the body."""
    size = 0
    more = scope["path"] != "/early"
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def fuzz_http(data: bytes) -> None:
    """The first byte is the size of the reads."""
    _loop().run_until_complete(_serve(data[1:], data[0] + 1 if data else 1))


async def _serve(data: bytes, size: int) -> None:
    config = Config(_echo_length, lifespan="off", log_config=None)
    config.load()
    protocol = HttpProtocol(Connections(8), config=config, server_state=ServerState(), app_state={})
    wire = Wire()
    protocol.connection_made(wire)
    for start in range(0, len(data), size):
        if wire.ended:
            break
        protocol.data_received(data[start : start + size])
        held = len(protocol._unparsed)
        assert held <= MAX_PIPELINED_BYTES + size, held
        await asyncio.sleep(0)
    for _ in range(4):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    await asyncio.sleep(0)
    answers = bytes(wire.sent)
    assert not answers or answers.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), answers
    assert b"500 Internal" not in answers


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def targets() -> tuple[Target, ...]:
    post = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%b\r\n"
    body = post % b"content-length: 5\r\n" + b"hello"
    chunks = post % b"transfer-encoding: chunked\r\n" + b"3\r\nabc\r\n2;e=1\r\nde\r\n0\r\nt: 1\r\n\r\n"
    upgrade = b"GET /early HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\r\n"
    seeds = [
        b"\x03" + body + chunks,
        b"\xff" + chunks * 3,
        b"\x10" + upgrade + body,
        b"\xff" + body.replace(b"/x", b"/early"),
    ]
    tokens = (
        b"transfer-encoding: chunked\r\n",
        b"content-length: 3\r\n",
        b"content-length: -1\r\n",
        b"expect: 100-continue\r\n",
        b"connection: close\r\n",
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b" HTTP/1.0\r\n",
        b" HTTP/0.9\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"x: " + b"y" * MAX_HEAD_BYTES + b"\r\n",
    )
    return (Target("http", fuzz_http, seeds, tokens),)
