"""What a request gets on one of the connections that are kept for health checks."""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.admission.errors import ServerOverloaded
from gateway.http.connections import ONLY_HEALTH
from gateway.http.errors import ErrorResponses


class RejectWhereFull:
    """ASGI middleware: 503, and the end of the connection, for all but health checks."""

    def __init__(self, app: ASGIApp, health_paths: Collection[str], errors: ErrorResponses) -> None:
        self._app = app
        self._health_paths = health_paths
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if ONLY_HEALTH not in scope or scope["path"] in self._health_paths:
            await self._app(scope, receive, send)
            return
        response = self._errors.response(scope, ServerOverloaded("the server has as many connections as it may have"))
        response.headers["connection"] = "close"
        await response(scope, receive, send)
