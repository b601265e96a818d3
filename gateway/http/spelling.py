"""Requests in another spelling than the routes have: paths as base URLs make them, and HEAD."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES: Final = re.compile("/{2,}")
# What clients ask for whose base URL lacks /v1; none of these names means anything else without it.
_BELOW_V1: Final = re.compile(
    "/(?:chat/completions|completions|embeddings|models|responses|conversations|files|batches|messages)(?:/.*)?",
    re.DOTALL,
)


def canonical(path: str) -> str:
    """`path` as the routes name it: no empty segments, no slash at its end, and OpenAI's and Anthropic's below /v1."""
    path = _SLASHES.sub("/", path)
    path = path.removesuffix("/") or "/"
    return f"/v1{path}" if _BELOW_V1.fullmatch(path) else path


class CanonicalPath:
    """ASGI middleware: everything within it sees the canonical path, so that a key is asked for by that path too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (path := canonical(scope["path"])) != scope["path"]:
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)


class HeadAsGet:
    """ASGI middleware: the application sees a GET; the server knows the method, and leaves the body out.

    HEAD belongs to every path that has a GET (RFC 9110, 9.3.2), and FastAPI's routes have only the methods that they
    name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
