"""The pages, and the files that they load: read once and served from memory, so that no request ever names a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.responses import RedirectResponse

PAGE_DIRECTORY: Final = Path(__file__).parents[1] / "page"

_MEDIA_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "content-security-policy": "frame-ancestors 'none'",  # which the pages' own policies, in a meta tag, cannot say
    "x-frame-options": "DENY",
}


def add_pages(app: FastAPI, directory: Path = PAGE_DIRECTORY) -> list[str]:
    """Serve index.html at /, any other NAME.html at /NAME, and other files of a known type at /NAME.TYPE.

    OPTIONS / is answered too: it is what HAProxy asks by default to learn whether a server is up. Returns the paths.
    """
    files = {page_path(file): file for file in sorted(directory.iterdir()) if file.suffix in _MEDIA_TYPES}
    for path, file in files.items():
        app.get(path, include_in_schema=False)(_serve(file))
    app.options("/", include_in_schema=False)(_options)
    return list(files)


def page_path(file: Path) -> str:
    """Where a file is served."""
    if file.name == "index.html":
        return "/"
    return f"/{file.stem}" if file.suffix == ".html" else f"/{file.name}"


def _serve(file: Path) -> Callable[[Request], Awaitable[Response]]:
    content, media_type = file.read_bytes(), _MEDIA_TYPES[file.suffix]

    async def serve(request: Request) -> Response:
        if request["raw_path"] == f"{page_path(file)}/".encode():  # the links of a page are relative
            return RedirectResponse(f"..{page_path(file)}")
        return Response(content, headers=_HEADERS, media_type=media_type)

    return serve


async def _options() -> Response:
    return Response(status_code=204, headers={"allow": "GET, HEAD, OPTIONS"})
