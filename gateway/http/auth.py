"""The API key: whatever is not explicitly open needs it, a path that does not exist included."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.errors import error_response
from triton_repo.contract.errors import AuthenticationFailed


class RequireApiKey:
    """ASGI middleware: 401 for HTTP requests without `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, api_key: str, open_paths: Collection[str]) -> None:
        self._app = app
        self._digest = hashlib.sha256(api_key.encode()).digest()
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._open_paths or self._knows(scope):
            await self._app(scope, receive, send)
        else:
            error = AuthenticationFailed("a valid API key is required: Authorization: Bearer KEY")
            await error_response(error)(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        """Digests are compared: equal length, and no time that depends on the key."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, key = given[0].partition(b" ")
        digest = hashlib.sha256(key.strip()).digest()
        return hmac.compare_digest(digest, self._digest) and scheme.lower() == b"bearer"
