"""The outermost layer: every request gets an id, and every failure that nobody foresaw gets an answer."""

from __future__ import annotations

import logging
import re
from secrets import token_hex
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.errors import ErrorResponses
from triton_repo.contract.errors import EngineFailed

logger = logging.getLogger(__name__)

_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Edge:
    """ASGI middleware. A client's own x-request-id is only echoed: nothing inside is ever found by it."""

    def __init__(self, app: ASGIApp, errors: ErrorResponses) -> None:
        self._app = app
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        started = complete = False

        async def send_with_id(message: Message) -> None:
            nonlocal started, complete
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["x-request-id"] = request_id
            else:
                complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:  # a process boundary: one request's bug must neither show its insides nor end the process
            logger.exception("request %s failed", request_id)
            if complete:
                return  # a layer inside has answered before it raised
            if started:
                raise  # too late for a status: the connection has to break
            response = self._errors.response(scope, EngineFailed("internal error"))
            await response(scope, receive, send_with_id)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _CLIENT_ID.fullmatch(given) else token_hex(16)
