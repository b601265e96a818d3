"""The generating paths in the API's description: they are answered in front of FastAPI, which describes the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.endpoints.routes import OPERATIONS
from gateway.http.errors import described

_REF: Final = "#/components/schemas/{model}"


def describe(app: FastAPI, others: Iterable[type[BaseModel]] = ()) -> None:
    """Add `OPERATIONS` to what `app.openapi()` says, and the models of bodies that `others` read by themselves."""
    of_the_others = app.openapi

    def openapi() -> dict[str, Any]:
        schema = of_the_others()
        bodies = [
            (model, "validation")
            for operation in OPERATIONS.values()
            for model in (operation.body, operation.dialect.error_model)
        ]
        bodies += [(model, "validation") for model in others]
        _, definitions = models_json_schema(bodies, ref_template=_REF)  # type: ignore[arg-type]
        schema["components"]["schemas"] |= definitions["$defs"]
        schema["paths"] = {path: {"post": _operation(path)} for path in OPERATIONS} | schema["paths"]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _operation(path: str) -> dict[str, Any]:
    body = {"$ref": _REF.format(model=OPERATIONS[path].body.__name__)}
    answer = "The answer; as server-sent events if `stream` is true."
    content: dict[str, Any] = {"application/json": {"schema": {}}, "text/event-stream": {}}
    errors = {
        str(status): {
            "description": response["description"],
            "content": {"application/json": {"schema": {"$ref": _REF.format(model=response["model"].__name__)}}},
        }
        for status, response in described(OPERATIONS[path].dialect.error_model).items()
    }
    return {
        "tags": ["generation"],
        "operationId": path.removeprefix("/v1/").replace("/", "_"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": answer, "content": content}, **errors},
    }
