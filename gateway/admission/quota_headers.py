"""What is left of the limits of a key, in the headers of every response to it, whoever makes the response."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.admission.caller import ANYONE, CALLER, Caller
from gateway.admission.quota import NO_LIMITS, Quotas


class QuotaHeaders:
    """ASGI middleware inside `RequireApiKey`, which says who asks; a caller without limits costs nothing."""

    def __init__(self, app: ASGIApp, quotas: Callable[[], Quotas]) -> None:
        self._app = app
        self._quotas = quotas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope.get(CALLER, ANYONE)
        if caller.limits == NO_LIMITS:
            await self._app(scope, receive, send)
            return

        async def send_with_rest(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._quotas().of(caller.name, caller.limits).headers())
            await send(message)

        await self._app(scope, receive, send_with_rest)
