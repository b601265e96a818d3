"""Answers held to `/openapi.json`, more strictly than it says: a field that it does not name is a fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx
import jsonschema_rs

Json = dict[str, Any]


def strict(value: Any) -> Any:
    """The description, in which no object has other fields than those that it names."""
    if isinstance(value, list):
        return [strict(each) for each in value]
    if not isinstance(value, dict):
        return value
    changed = {key: strict(each) for key, each in value.items()}
    if isinstance(changed.get("properties"), dict) and "additionalProperties" not in changed:
        changed["additionalProperties"] = False
    return changed


class Description:
    """`/openapi.json` of a server."""

    def __init__(self, schema: Json) -> None:
        self.paths: Mapping[str, Mapping[str, Json]] = schema["paths"]
        self._components = strict(schema["components"])
        self.seen: set[tuple[str, str, int, str]] = set()

    def check(self, path: str, response: httpx.Response) -> None:
        """`path` as the description writes it."""
        method, media_type = response.request.method.lower(), response.headers["content-type"].split(";")[0]
        content = self.paths[path][method]["responses"][str(response.status_code)]["content"]
        schema = content[media_type]["schema"]
        if media_type == "text/event-stream":
            data = schema["properties"]["data"]
            schema = data.get("anyOf", [data])[0]["contentSchema"]
        for data in _data(response, media_type):
            errors = [f"{one.instance_path}: {one.message[:500]}" for one in self._validator(schema).iter_errors(data)]
            assert not errors, (path, data, errors)
        self.seen.add((method, path, response.status_code, media_type))

    def _validator(self, schema: Json) -> Any:
        return _validator(json.dumps({**schema, "components": self._components}))


@cache
def _validator(schema: str) -> Any:
    return jsonschema_rs.Draft202012Validator(json.loads(schema))


def _data(response: httpx.Response, media_type: str) -> list[Any]:
    """The JSON of a body, or that of each of its events."""
    if media_type == "application/json":
        return [response.json()]
    if media_type != "text/event-stream":
        return [response.text]
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]
