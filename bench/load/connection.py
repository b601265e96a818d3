"""HTTP/1.1 for a load generator: one protocol object per connection, no futures or copies per chunk.

A general client (`httpx`, `openai`, `aiohttp`) costs more CPU for a chunk than the server under test spends on it;
on one machine it would measure itself. What is left here is uvloop's socket, httptools' parser (both in C) and
`Answer`: in the order of 10 µs for one chunk.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

from bench.load.answer import Answer, Record
from triton_repo.contract.errors import BenchError

# A server closes idle connections, by default after 5 s (uvicorn); a request on one that just closes would be lost.
_REUSABLE_FOR_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server, from its base URL: with or without `/v1` at the end.

    `sends_done`: its streams end with `data: [DONE]`, as OpenAI's do; else a finish reason has to do. `keeps_alive`: it
    leaves a connection open after a stream, or says that it does not; else each request has a connection of its own.
    """

    host: str
    port: int
    tls: bool
    prefix: str
    api_key: str | None = None
    sends_done: bool = True
    keeps_alive: bool = True
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, url: str, api_key: str | None = None) -> Target:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BenchError(f"URL = {url!r}; must be like http://HOST:PORT or https://HOST/PATH")
        tls = parts.scheme == "https"
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, prefix, api_key)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}{self.prefix}"

    def request(self, path: str, body: bytes) -> bytes:
        """A POST, ready for the socket."""
        key = f"Authorization: Bearer {self.api_key}\r\n" if self.api_key else ""
        close = "" if self.keeps_alive else "Connection: close\r\n"
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        head = (
            f"POST {self.prefix}{path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{key}{close}{more}"
            f"Content-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.idle_since_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._answer: Answer | None = None
        self._over: asyncio.Future[None] | None = None
        self._now_s = 0.0

    @property
    def reusable(self) -> bool:
        return self._transport is not None and time.perf_counter() - self.idle_since_s < _REUSABLE_FOR_S

    async def exchange(self, request: bytes, answer: Answer) -> None:
        """Send a request and feed its response to `answer`, whole. ConnectionError if it breaks off."""
        if self._transport is None:
            raise ConnectionResetError("the server closed the connection")
        self._answer = answer
        self._parser = HttpResponseParser(self)
        self._over = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        answer.sent(time.perf_counter())
        await self._over

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what a socket gets; uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._now_s = time.perf_counter()
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(ConnectionError(f"not HTTP/1.1: {error}"))
            self.close()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._fail(ConnectionResetError("the server closed the connection in the middle of an answer"))

    def on_headers_complete(self) -> None:
        if self._answer is not None:
            self._answer.begin(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        if self._answer is not None:
            self._answer.feed(body, self._now_s)

    def on_message_complete(self) -> None:
        self.idle_since_s = self._now_s
        keep = self._parser.should_keep_alive()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
        self._answer = self._over = None
        if not keep:
            self.close()

    def _fail(self, error: ConnectionError) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)
        self._answer = self._over = None


class Client:
    """Connections to one server, reused as a client library would. To be closed."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._idle: list[_Connection] = []
        self._tls = ssl.create_default_context() if target.tls else None

    async def ask(self, path: str, body: bytes, due_s: float | None = None) -> Record:
        """One request and its answer. It does not raise: whatever goes wrong is the record's `error`."""
        answer = Answer(time.perf_counter() if due_s is None else due_s, self._target.sends_done)
        error = None
        try:
            await asyncio.wait_for(self._exchange(self._target.request(path, body), answer), self._timeout_s)
        except TimeoutError:
            error = f"no end within {self._timeout_s:g} s"
        except OSError as failure:
            error = f"connection: {failure}"
        return answer.record(time.perf_counter(), error)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _exchange(self, request: bytes, answer: Answer) -> None:
        connection = await self._connection()
        try:
            await connection.exchange(request, answer)
        except BaseException:
            connection.close()
            raise
        if self._target.keeps_alive:
            self._idle.append(connection)
        else:
            connection.close()

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
            connection.close()
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection, self._target.host, self._target.port, ssl=self._tls
        )
        return connection
