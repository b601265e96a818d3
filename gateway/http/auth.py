"""API keys: every path that is not explicitly open needs one, a path that does not exist included.

Those of the operator need the admin key, which opens nothing else; without one nobody reaches them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.admission.caller import ANYONE, CALLER, Caller
from gateway.http.errors import ErrorResponses
from gateway.http.keys import ApiKeys
from gateway.http.request_id import KEY_NAME
from triton_repo.contract.errors import AuthenticationFailed

ADMIN_PATHS: Final = "/admin"  # and those below it

# All that the routes take: a name may be empty, and a line break may follow, since their patterns end with `$`.
_ADMIN: Final = re.compile(
    rf"{ADMIN_PATHS}(/.*)?|(/v1/models/.*/(load|unload)|/v1/(un)?load_lora_adapter)\n?", re.DOTALL
)


class KeyScheme(Protocol):
    """How the clients of an API present their key."""

    @property
    def key_hint(self) -> str: ...

    def api_keys(self, headers: Mapping[bytes, list[bytes]], /) -> list[bytes]: ...


def caller_of(scope: Scope) -> Caller:
    """Who asks, as `RequireApiKey` has found: anyone, where no key is needed."""
    caller: Caller = scope.get(CALLER, ANYONE)
    return caller


class RequireApiKey:
    """ASGI middleware: 401 for HTTP requests that do not present a valid key, or present another one too."""

    def __init__(
        self,
        app: ASGIApp,
        keys: ApiKeys,
        open_paths: Collection[str],
        scheme_of: Callable[[Scope], KeyScheme],
        errors: ErrorResponses,
    ) -> None:
        self._app = app
        self._keys = keys
        self._open_paths = frozenset(open_paths)
        self._scheme_of = scheme_of
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._open_paths or self._is_authorized(scope):
            await self._app(scope, receive, send)
        else:
            error = AuthenticationFailed(f"a valid API key is required: {self._scheme_of(scope).key_hint}")
            await self._errors.response(scope, error)(scope, receive, send)

    def _is_authorized(self, scope: Scope) -> bool:
        if _ADMIN.fullmatch(scope["path"]):
            keys = self._presented(scope)
            return bool(keys) and all(map(self._keys.is_admin, keys))
        if not self._keys.are_needed:
            return True
        callers = [self._keys.caller(key) for key in self._presented(scope)]
        if not callers or callers[0] is None or None in callers:
            return False
        scope[CALLER] = callers[0]
        scope[KEY_NAME] = callers[0].name
        return True

    def _presented(self, scope: Scope) -> list[bytes]:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        return self._scheme_of(scope).api_keys(headers)
