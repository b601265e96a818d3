"""Error responses. Routes and layers raise or answer with a RequestError; the dialect of the path writes its body.

Besides the shared tree of `triton_repo.contract.errors` there are failures of HTTP itself:

    InvalidRequest
    ├── PathNotFound          404
    ├── MethodNotAllowed      405
    ├── BodyTimeout           408
    ├── BodyTooLarge          413
    ├── UnsupportedMediaType  415
    └── MisdirectedRequest    421
"""

from __future__ import annotations

import http
import math
from collections.abc import Callable
from typing import Any, Final, Protocol, cast, get_args

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from gateway.admission.errors import RateLimitExceeded
from gateway.http.request_id import REQUEST_ID
from triton_repo.contract.errors import (
    AuthenticationFailed,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    RequestError,
    RequestTimedOut,
)

ANSWER_CHECKED: Final = (502,)  # statuses of paths whose answers may have to match a schema
STORED: Final = (507,)  # of those that keep files
_STATUSES: Final = (400, 401, 404, 405, 408, 413, 415, 421, 429, 500, 503, 504)


class PathNotFound(InvalidRequest):
    status = 404
    code = "not_found"


class MethodNotAllowed(InvalidRequest):
    """`allow` is the value of the header that names the methods of the path."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class BodyTimeout(InvalidRequest):
    status = 408
    code = "body_timeout"


class BodyTooLarge(InvalidRequest):
    status = 413
    code = "body_too_large"


class UnsupportedMediaType(InvalidRequest):
    status = 415
    code = "unsupported_media_type"


class MisdirectedRequest(InvalidRequest):
    status = 421
    code = "misdirected_request"


def described(model: Any, *others: int) -> dict[int | str, dict[str, Any]]:
    """Every error status of any path, and `others`, with the type of its body, for the API's description.

    It refers to the type's schema, which `gateway.endpoints.description.describe` adds: FastAPI would build a validator
    of each status of each path, which is most of the time that it takes to make the application.
    """
    schemas = [{"$ref": f"#/components/schemas/{one.__name__}"} for one in get_args(model) or (model,)]
    content = {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}
    statuses = (*_STATUSES, *others)
    return {status: {"description": http.HTTPStatus(status).phrase, "content": content} for status in statuses}


class ErrorWriter(Protocol):
    """Writes the error bodies of an API."""

    def error_body(self, error: RequestError, request_id: str, /) -> bytes: ...


class ErrorResponses:
    """Error responses, whose bodies are those of the API to which a request belongs."""

    def __init__(self, writer_of: Callable[[Scope], ErrorWriter]) -> None:
        self._writer_of = writer_of

    def response(self, scope: Scope, error: RequestError) -> Response:
        headers: dict[str, str] = {}
        if isinstance(error, RateLimitExceeded):
            headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
            headers["retry-after-ms"] = str(round(1000 * error.retry_after_s))
        if isinstance(error, EngineUnavailable):
            headers["retry-after"] = str(error.retry_after_s)
        if isinstance(error, RequestTimedOut):  # OpenAI's clients ask again after every other status of 500 and above
            headers["x-should-retry"] = "false"
        if isinstance(error, AuthenticationFailed):
            headers["www-authenticate"] = "Bearer"
        if isinstance(error, MethodNotAllowed):
            headers["allow"] = error.allow
        body = self._writer_of(scope).error_body(error, scope.get(REQUEST_ID, ""))
        return Response(body, error.status, headers, media_type="application/json")

    def install(self, app: FastAPI) -> None:
        """Answer with these what the routes of `app` raise."""
        app.add_exception_handler(RequestError, self._request_error)
        app.add_exception_handler(HTTPException, self._http_exception)
        app.add_exception_handler(RequestValidationError, self._invalid_query)
        app.add_exception_handler(Exception, self._bug)  # Starlette raises it again for the layers around `app`

    async def _request_error(self, request: Request, error: Exception) -> Response:
        return self.response(request.scope, cast("RequestError", error))

    async def _http_exception(self, request: Request, error: Exception) -> Response:
        """What the router itself rejects: an unknown path, a method that a path does not have."""
        rejection = cast("HTTPException", error)
        scope, allow = request.scope, (rejection.headers or {}).get("Allow")
        return self.response(scope, path_not_found(scope) if allow is None else method_not_allowed(scope, allow))

    async def _invalid_query(self, request: Request, error: Exception) -> Response:
        """What a route says of its query; bodies are parsed by hand."""
        first = cast("RequestValidationError", error).errors()[0]
        name = str(first["loc"][-1])
        return self.response(request.scope, InvalidRequest(f"{name}: {first['msg']}", name))

    async def _bug(self, request: Request, _: Exception) -> Response:
        return self.response(request.scope, EngineFailed("internal error"))


def path_not_found(scope: Scope) -> PathNotFound:
    return PathNotFound(f"Not Found: {_asked(scope)}")


def method_not_allowed(scope: Scope, allow: str) -> MethodNotAllowed:
    return MethodNotAllowed(f"Method Not Allowed: {_asked(scope)}", allow)


def _asked(scope: Scope) -> str:
    return f"{scope['method']} {scope['path'][:200]}"
