"""/v1/files: what clients upload for batches, and what batches write."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from fastapi import FastAPI, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from gateway.dialects.openai.envelope import OPENAI
from gateway.endpoints.list_page import ListPage
from gateway.http.errors import STORED, described
from gateway.http.form import Upload, read_upload
from gateway.state import COUNTED, GatewayDep, owner_of
from gateway.store.files import Page, StoredFile
from triton_repo.contract.errors import InvalidRequest

Purpose = Literal["batch", "user_data", "assistants", "evals", "fine-tune", "vision"]
MIN_EXPIRY_S: Final = 3600
MAX_EXPIRY_S: Final = 30 * 86400
MAX_PAGE: Final = 10_000

_PURPOSES: Final = Purpose.__args__  # type: ignore[attr-defined]


class FileNotFound(InvalidRequest):
    status = 404
    code = "file_not_found"


class FileObject(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileList(ListPage[FileObject]):
    """A page of the files of one key."""


class FilesQuery(BaseModel):
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = MAX_PAGE
    after: str | None = None
    order: Literal["asc", "desc"] = "desc"
    purpose: str | None = None


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def add_files(app: FastAPI) -> None:
    errors = described(OPENAI.error_model, *STORED)
    options = {"tags": ["files"], "responses": errors}
    app.post("/v1/files", dependencies=COUNTED, openapi_extra=_FORM, **options)(upload_file)  # type: ignore[arg-type]
    app.get("/v1/files", **options)(list_files)  # type: ignore[arg-type]
    app.get("/v1/files/{file}", **options)(get_file)  # type: ignore[arg-type]
    app.delete("/v1/files/{file}", **options)(delete_file)  # type: ignore[arg-type]
    content: dict[int | str, Any] = {
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    }
    app.get("/v1/files/{file}/content", tags=["files"], response_class=Response, responses=content | errors)(
        get_content
    )


async def upload_file(request: Request, gateway: GatewayDep) -> FileObject:
    settings = gateway.settings
    form = read_upload(request.scope, request.receive, "file", settings.max_file_bytes, settings.body_timeout_s)
    async with form as upload:
        purpose, expires_after_s = _purpose(upload), _expires_after_s(upload)
        pieces = upload.pieces()
        return _object(await gateway.files.add(owner_of(request), upload.filename, purpose, pieces, expires_after_s))


async def list_files(
    request: Request,
    gateway: GatewayDep,
    asked: Annotated[FilesQuery, Query()],
) -> FileList:
    page = Page(asked.limit, asked.after, asked.order == "desc")
    files = [_object(file) for file in await gateway.files.page(owner_of(request), page, asked.purpose)]
    return FileList.of(files, asked.limit)


async def get_file(file: str, request: Request, gateway: GatewayDep) -> FileObject:
    return _object(await find_file(file, request, gateway))


async def delete_file(file: str, request: Request, gateway: GatewayDep) -> FileDeleted:
    if not await gateway.files.delete(owner_of(request), file):
        raise _not_found(file)
    return FileDeleted(id=file)


async def get_content(file: str, request: Request, gateway: GatewayDep) -> Response:
    found = await find_file(file, request, gateway)
    headers = {"content-length": str(found.num_bytes), "content-disposition": _attachment(found.filename)}
    content = gateway.files.content(found.id)
    return StreamingResponse(content, headers=headers, media_type="application/octet-stream")


async def find_file(id: str, request: Request, gateway: GatewayDep) -> StoredFile:
    """
    Raises:
        FileNotFound
    """
    found = await gateway.files.get(owner_of(request), id)
    if found is None:
        raise _not_found(id)
    return found


def _not_found(id: str) -> FileNotFound:
    return FileNotFound(f"no such file: {id[:80]!r}", "id")


def _object(file: StoredFile) -> FileObject:
    return FileObject(
        id=file.id,
        bytes=file.num_bytes,
        created_at=file.created,
        expires_at=file.expires,
        filename=file.filename,
        purpose=file.purpose,
    )


def _purpose(upload: Upload) -> str:
    purpose = upload.fields.get("purpose")
    if purpose not in _PURPOSES:
        raise InvalidRequest(f"purpose = {(purpose or '')[:80]!r}: must be one of {', '.join(_PURPOSES)}", "purpose")
    return str(purpose)


def _expires_after_s(upload: Upload) -> int | None:
    anchor, seconds = (upload.fields.get(f"expires_after[{name}]") for name in ("anchor", "seconds"))
    if anchor is None and seconds is None:
        return MAX_EXPIRY_S if upload.fields.get("purpose") == "batch" else None
    if anchor != "created_at":
        raise InvalidRequest("expires_after.anchor: must be created_at", "expires_after")
    if not re.fullmatch(r"[0-9]{1,9}", seconds or "") or not MIN_EXPIRY_S <= int(seconds or 0) <= MAX_EXPIRY_S:
        rule = f"must be a whole number from {MIN_EXPIRY_S} to {MAX_EXPIRY_S}"
        raise InvalidRequest(f"expires_after.seconds: {rule}", "expires_after")
    return int(seconds or 0)


def _attachment(filename: str) -> str:
    """Never shown as a page, whatever it holds."""
    return f"attachment; filename*=UTF-8''{quote(filename, safe='')}"


_FIELDS: Final = {
    "file": {"type": "string", "format": "binary"},
    "purpose": {"type": "string", "enum": [*_PURPOSES]},
    "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
    "expires_after[seconds]": {"type": "integer", "minimum": MIN_EXPIRY_S, "maximum": MAX_EXPIRY_S},
}
_FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file", "purpose"], "properties": _FIELDS}
            }
        },
    }
}
