"""The chat page at / and the files beside it: read once, served from memory, so no request ever names a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Response

PAGE_DIRECTORY: Final = Path(__file__).parents[1] / "page"

_MEDIA_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}


def add_page(app: FastAPI, directory: Path = PAGE_DIRECTORY) -> list[str]:
    """Serve `index.html` at / and every other file of a known type at /NAME; returns the paths."""
    files = {_path(file): file for file in sorted(directory.iterdir()) if file.suffix in _MEDIA_TYPES}
    for path, file in files.items():
        app.get(path, include_in_schema=False)(_serve(file))
    return list(files)


def _path(file: Path) -> str:
    return "/" if file.name == "index.html" else f"/{file.name}"


def _serve(file: Path) -> Callable[[], Awaitable[Response]]:
    content, media_type = file.read_bytes(), _MEDIA_TYPES[file.suffix]

    async def serve() -> Response:
        return Response(content, headers=_HEADERS, media_type=media_type)

    return serve
