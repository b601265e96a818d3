"""A small real HTTP server that answers each request with bytes from a script, split where the script says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from bench.load.connection import Target

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(events: Iterable[bytes]) -> bytes:
    """A whole streamed response, one HTTP chunk for each event."""
    return HEAD + b"".join(map(chunk, events)) + END


class WireServer:
    """`script` holds, for each request in turn, the pieces to write; None closes the connection there."""

    def __init__(self, script: Sequence[Sequence[bytes | None]]) -> None:
        self._script = list(script)
        self.requests: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await self._head(reader):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                if not await self._answer(writer):
                    return
        finally:
            writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return b""

    async def _answer(self, writer: asyncio.StreamWriter) -> bool:
        for piece in self._script.pop(0):
            if piece is None:
                return False
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # so that pieces can arrive one by one
        return True


@asynccontextmanager
async def wire_server(*script: Sequence[bytes | None]) -> AsyncIterator[tuple[WireServer, Target]]:
    wire = WireServer(script)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield wire, Target.parse(f"http://{host}:{port}/v1", "sk-canary")
    finally:
        server.close()
        await server.wait_closed()
