"""The queries of what is kept: each parameter is read here, and named in the error where it is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request

from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.responses.includable import INCLUDABLE, fault_of
from gateway.http.errors import described
from gateway.state import COUNTED
from gateway.store.files import Page
from gateway.store.response_rows import Json
from triton_repo.contract.errors import InvalidRequest

MAX_LIMIT: Final = 100

_DEFAULT_LIMIT: Final = 20
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


def described_query(**schemas: Json) -> Json:
    """The description of a query."""
    return {"parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in schemas.items()]}


INCLUDE: Final[Json] = {"type": "array", "items": {"type": "string", "enum": sorted(INCLUDABLE)}}

INCLUDING: Final = described_query(include=INCLUDE)
PAGING: Final = described_query(
    include=INCLUDE,
    limit={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": _DEFAULT_LIMIT},
    order={"type": "string", "enum": ["asc", "desc"], "default": "desc"},
    after={"type": "string"},
)


def described_body(model: type[Any]) -> Json:
    """The description of a body that an endpoint reads by itself."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    return {"requestBody": {"required": True, "content": content}}


class Routes:
    """Adds routes of one kind. What was kept is sent as it is: its type describes it, and nothing is validated.

    `posts_are_counted`, in the requests per minute of a key, before they are read.
    """

    def __init__(self, app: FastAPI, tag: str, *, posts_are_counted: bool = False) -> None:
        self._app = app
        self._tag = tag
        self._posts_are_counted = posts_are_counted

    def add(
        self, method: str, path: str, endpoint: Callable[..., Any], answer: Any, extra: Mapping[str, Any] | None = None
    ) -> None:
        """`answer` is the type of the answer, or describes it."""
        description = answer if isinstance(answer, dict) else {"model": answer}
        self._app.add_api_route(
            path,
            endpoint,
            methods=[method],
            dependencies=COUNTED if self._posts_are_counted and method == "POST" else (),
            tags=[self._tag],
            response_model=None,
            responses={200: description, **described(OPENAI.error_model)},
            openapi_extra=dict(extra or {}),
        )


def check_include(request: Request) -> None:
    """What is kept is sent whole, whatever is asked for. OpenAI's clients write `include[]`."""
    given = [*request.query_params.getlist("include"), *request.query_params.getlist("include[]")]
    if (fault := fault_of(given)) is not None:
        raise InvalidRequest(f"include: {fault}", "include")


def page_of(request: Request) -> Page:
    check_include(request)
    order, after = request.query_params.get("order", "desc"), request.query_params.get("after")
    limit = number(request, "limit", _DEFAULT_LIMIT)
    if order not in ("asc", "desc"):
        raise InvalidRequest(f"order = {order[:64]!r}: must be asc or desc", "order")
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit = {limit}: must be 1 to {MAX_LIMIT}", "limit")
    return Page(limit, after, newest_first=order == "desc")


def flag(request: Request, name: str) -> bool:
    given = request.query_params.get(name, "false").lower()
    if given not in ("true", "false"):
        raise InvalidRequest(f"{name} = {given[:64]!r}: must be true or false", name)
    return given == "true"


def number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    if not _NUMBER.fullmatch(given):
        raise InvalidRequest(f"{name} = {given[:64]!r}: must be a whole number", name)
    return int(given)
