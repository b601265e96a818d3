"""Every failure as OpenAI's error body. Routes raise; the handlers here answer.

Beside the shared tree of `triton_repo.contract.errors` there are three failures of HTTP itself:

    InvalidRequest
    ├── BodyTooLarge          413
    ├── UnsupportedMediaType  415
    └── BodyTimeout           408
"""

from __future__ import annotations

import http
from typing import Any, Final, cast

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from triton_repo.contract.errors import AuthenticationFailed, EngineUnavailable, InvalidRequest, RequestError

RETRY_AFTER_S: Final = 2  # about what a full engine needs to free a slot; OpenAI's clients wait as long as it says


class BodyTooLarge(InvalidRequest):
    status = 413
    code = "body_too_large"


class UnsupportedMediaType(InvalidRequest):
    status = 415
    code = "unsupported_media_type"


class BodyTimeout(InvalidRequest):
    status = 408
    code = "body_timeout"


class ErrorFields(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorFields


# For the API's description.
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": http.HTTPStatus(status).phrase, "model": ErrorBody}
    for status in (400, 401, 404, 408, 413, 415, 500, 503)
}


def envelope(error: RequestError) -> dict[str, Any]:
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def error_response(error: RequestError) -> Response:
    headers = {}
    if isinstance(error, EngineUnavailable):
        headers["retry-after"] = str(RETRY_AFTER_S)
    if isinstance(error, AuthenticationFailed):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, BodyTimeout):
        headers["connection"] = "close"  # the rest of the body may never come
    return _json(error.status, envelope(error), headers)


def install_handlers(app: FastAPI) -> None:
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(HTTPException, _http_exception)


async def _request_error(_: Request, error: Exception) -> Response:
    return error_response(cast("RequestError", error))


async def _http_exception(request: Request, error: Exception) -> Response:
    """What the router itself refuses: an unknown path, a method that a path does not have."""
    refusal = cast("HTTPException", error)
    phrase = http.HTTPStatus(refusal.status_code).phrase
    kind = "invalid_request_error" if refusal.status_code < 500 else "server_error"
    code = phrase.lower().replace(" ", "_")
    message = f"{phrase}: {request.method} {request.url.path[:200]}"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return _json(refusal.status_code, body, dict(refusal.headers or {}))


def _json(status: int, body: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
