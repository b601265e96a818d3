"""The multipart body of an upload: a file, which may be large and goes to the disk, and a few short fields.

The parts are read by Starlette (python-multipart), within bounds of size, time and number.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Receive, Scope

from gateway.http.body import check_type, read_pieces
from triton_repo.contract.errors import InvalidRequest

_MAX_FIELDS: Final = 16
_MAX_FIELD_BYTES: Final = 4096
_MAX_OVERHEAD_BYTES: Final = 1 << 20  # of boundaries, heads and fields
_MAX_NAME: Final = 512  # characters
_PIECE_BYTES: Final = 1 << 18


class Upload(NamedTuple):
    """One file and the fields beside it; the file is there until the end of the block."""

    file: UploadFile
    fields: Mapping[str, str]

    @property
    def filename(self) -> str:
        """Its last part alone: a path says something about the client's machine, and nothing here."""
        name = (self.file.filename or "").replace("\\", "/").rpartition("/")[2]
        return name[:_MAX_NAME] or "file"

    async def pieces(self) -> AsyncIterator[bytes]:
        while piece := await self.file.read(_PIECE_BYTES):
            yield piece


@asynccontextmanager
async def read_upload(
    scope: Scope, receive: Receive, name: str, max_bytes: int, timeout_s: float
) -> AsyncIterator[Upload]:
    """The file in the field `name`, of at most `max_bytes`, and the other fields.

    Raises:
        UnsupportedMediaType, BodyTooLarge, BodyTimeout, ClientDisconnect
        InvalidRequest: the body is not multipart, or has no such file, or another one.
    """
    headers = Headers(scope=scope)
    check_type(headers, "multipart/form-data")
    pieces = read_pieces(headers, receive, max_bytes + _MAX_OVERHEAD_BYTES, timeout_s)
    limits = {"max_files": 1, "max_fields": _MAX_FIELDS, "max_part_size": _MAX_FIELD_BYTES}
    try:
        form = await MultiPartParser(headers, pieces, **limits).parse()  # type: ignore[arg-type]
    except MultiPartException as error:
        raise InvalidRequest(f"the request body is not a form with one file: {error.message}") from None
    try:
        items = form.multi_items()
        files = [value for key, value in items if key == name and isinstance(value, UploadFile)]
        if len(files) != 1:
            raise InvalidRequest(f"{name}: a file is required", name)
        if (files[0].size or 0) > max_bytes:
            raise InvalidRequest(f"{name}: may have at most {max_bytes} bytes", name)
        yield Upload(files[0], {key: value for key, value in items if isinstance(value, str)})
    finally:
        await form.close()
