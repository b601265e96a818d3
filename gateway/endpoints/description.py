"""The API's description, `/openapi.json`: the bodies, answers, events and errors of every path.

FastAPI describes its own routes; the paths that generate are answered in front of it, and described here. All types are
those that the encoders build, so that nothing is written down twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter

from gateway.dialects.dialect import Operation
from gateway.dialects.kserve.envelope import KSERVE
from gateway.dialects.openai.envelope import OPENAI
from gateway.endpoints.routes import OPERATIONS
from gateway.http.errors import ANSWER_CHECKED, described
from gateway.http.event_stream import described_events

Json = dict[str, Any]
Mode = Literal["validation", "serialization"]

_REF: Final = "#/components/schemas/{model}"
_ANSWER: Final = "The answer; with `stream` true as server-sent events."
_METHODS: Final = ("get", "post", "delete")
# FastAPI's own error of a request that is not as described; here that is 400.
_NOT_HERE: Final = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI, bodies: Iterable[type[BaseModel]] = ()) -> None:
    """Add `OPERATIONS` to what `app.openapi()` says, and the models of bodies that other routes read by themselves."""
    of_the_others, others = app.openapi, tuple(bodies)

    @cache  # it takes 80 ms, and any client may ask
    def openapi() -> Json:
        schema = of_the_others()
        types: list[tuple[Any, Mode, TypeAdapter[Any]]] = [(it, "validation", TypeAdapter(it)) for it in others]
        for operation in OPERATIONS.values():
            types.append((operation.body, "validation", TypeAdapter(operation.body)))
            answers = (operation.answer, operation.event, operation.dialect.error_model, KSERVE.error_model)
            types += [(it, "serialization", TypeAdapter(it)) for it in answers if it is not None]
        refs, definitions = TypeAdapter.json_schemas(types, ref_template=_REF)
        known = {key: ref for (key, _), ref in refs.items()}
        schema["components"]["schemas"] |= definitions["$defs"]
        own = {path: {"post": _operation(path, operation, known)} for path, operation in OPERATIONS.items()}
        schema["paths"] = own | schema["paths"]
        _remove_fastapis_errors(schema)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _operation(path: str, operation: Operation, refs: Mapping[Any, Json]) -> Json:
    content: Json = {"application/json": {"schema": refs[operation.answer]}}
    if operation.event is not None:
        end = "[DONE]" if operation.dialect is OPENAI else None
        content["text/event-stream"] = {"schema": described_events(refs[operation.event], end=end)}
    else:
        content["text/event-stream"] = {}
    body = {"application/json": {"schema": refs[operation.body]}}
    described_errors = described(operation.dialect.error_model, *ANSWER_CHECKED)
    errors = {str(status): response for status, response in described_errors.items()}
    return {
        "tags": ["generation"],
        "operationId": path.removeprefix("/v1/").replace("/", "_"),
        "requestBody": {"required": True, "content": body},
        "responses": {"200": {"description": _ANSWER, "content": content}, **errors},
    }


def _remove_fastapis_errors(schema: Json) -> None:
    for methods in schema["paths"].values():
        for method in _METHODS:
            methods.get(method, {}).get("responses", {}).pop("422", None)
    for name in _NOT_HERE:
        schema["components"]["schemas"].pop(name, None)
