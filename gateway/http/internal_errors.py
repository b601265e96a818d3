"""The boundary of a request: a bug in its handling shows neither its insides to the client nor ends the process."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.errors import ErrorResponses
from gateway.http.request_id import EXCHANGE
from triton_repo.contract.errors import EngineFailed

logger = logging.getLogger(__name__)


class InternalErrors:
    """ASGI middleware inside of RequestIdMiddleware: an exception that nothing else handles is answered with 500."""

    def __init__(self, app: ASGIApp, errors: ErrorResponses) -> None:
        self._app = app
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception:
            if scope["type"] != "http":
                raise
            exchange = scope[EXCHANGE]
            logger.exception("request failed: %s", exchange)
            if exchange.complete:
                return  # a layer inside has answered before it raised
            if exchange.status:
                raise  # too late for another status: the connection has to break
            await self._errors.response(scope, EngineFailed("internal error"))(scope, receive, send)
