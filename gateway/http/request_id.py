"""The layer around all that answers: every request gets an id, and a line in the access log.

The gateway's own id is the one that Triton and the log know a request by. A client's `x-request-id` comes back in the
response's header of that name, so that it can be followed through proxies; whichever of the two the response carries,
the access log has both in one line.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ACCESS_LOGGER: Final = "gateway.access"
REQUEST_ID: Final = "conch.request_id"  # of a scope: the gateway's own id, a str
EXCHANGE: Final = "conch.exchange"  # of a scope: its Exchange
KEY_NAME: Final = "conch.key_name"  # of a scope: the name of the valid key that the request presents

_CLIENT_ID: Final = re.compile(rb"[A-Za-z0-9_-]{1,128}")
_MAX_PATH_BYTES: Final = 200
_REJECTED: Final = (429, 503)
MAX_REJECTION_LINES: Final = 10  # a second

logger = logging.getLogger(ACCESS_LOGGER)


@dataclass(slots=True)
class Exchange:
    """One request and what has been answered so far.

    Attributes:
        client_id: the client's own id, if it sent one that is safe to repeat.
        status: of the response; 0 until it has begun.
        complete: the whole response has been sent.
    """

    client_id: str
    request_id: str = field(default_factory=lambda: token_hex(16))
    began_s: float = field(default_factory=time.perf_counter)
    status: int = 0
    complete: bool = False

    def __str__(self) -> str:
        return f"id={self.request_id}" + (f" client_id={self.client_id}" if self.client_id else "")


class _Rejections:
    """So many lines a second for requests that are told to come back: an overloaded server has better things to do."""

    def __init__(self) -> None:
        self._second = 0
        self._num_lines = self._num_left_out = 0

    def has_a_line(self, exchange: Exchange) -> bool:
        """Whether to log a request that has ended. What is left out is told by its number, with the next line."""
        second = int(time.monotonic())
        if second != self._second:
            if self._num_left_out:
                logger.info("%d more requests were rejected with 429 or 503", self._num_left_out)
            self._second, self._num_lines, self._num_left_out = second, 0, 0
        if exchange.status not in _REJECTED:
            return True
        self._num_lines += 1
        self._num_left_out += self._num_lines > MAX_REJECTION_LINES
        return self._num_lines <= MAX_REJECTION_LINES


class RequestIdMiddleware:
    """ASGI middleware. The access log is at level INFO, for checks that succeed at DEBUG.

    Args:
        check_paths: what probes and scrapers ask all the time.
        other_names: of the header with the id, in the API to which a request belongs.
    """

    def __init__(
        self,
        app: ASGIApp,
        access_log: bool,
        check_paths: Collection[str],
        other_names: Callable[[Scope], Iterable[bytes]],
    ) -> None:
        self._app = app
        self._check_paths = check_paths
        self._other_names = other_names
        self._access_log = access_log
        self._rejections = _Rejections()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(_client_id(scope))
        scope[EXCHANGE], scope[REQUEST_ID] = exchange, exchange.request_id
        names = (b"x-request-id", *self._other_names(scope))
        id_headers = [(name, (exchange.client_id or exchange.request_id).encode()) for name in names]

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *id_headers]
            await send(message)
            exchange.complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            if self._access_log and self._rejections.has_a_line(exchange):
                is_check = scope["path"] in self._check_paths and exchange.status == 200
                _log(scope, exchange, logging.DEBUG if is_check else logging.INFO)


def _client_id(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode() if _CLIENT_ID.fullmatch(given) else ""


def _log(scope: Scope, exchange: Exchange, level: int) -> None:
    """`GET /v1/models 200 0.003 s id=… key=…`; the key by its name, if the request has one.

    A client that left, or a bug, makes a response "incomplete".
    """
    if logger.isEnabledFor(level):
        path = scope["raw_path"][:_MAX_PATH_BYTES].decode("ascii", "backslashreplace")  # without its query
        took_s = time.perf_counter() - exchange.began_s
        end = "" if exchange.complete else " incomplete"
        key = f" key={scope[KEY_NAME]}" if KEY_NAME in scope else ""
        logger.log(level, "%s %s %d%s %.3f s %s%s", scope["method"], path, exchange.status, end, took_s, exchange, key)
