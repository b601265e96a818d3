"""The lines of a batch's input file, and of its output: JSON objects, one on each.

    {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
    {"id": "batch_req_1", "custom_id": "a", "response": {"status_code": 200, "request_id": "1", "body": {}},
     "error": null}

Source: OpenAI's guide "Batch API".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.batches.batch import LineError
from gateway.dialects.openai.chunks import error_json
from triton_repo.contract.errors import RequestError

MAX_CUSTOM_ID: Final = 512  # characters


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch. `number` counts the lines of the file, from 1; `body` is JSON."""

    number: int
    custom_id: str
    body: bytes


async def numbered(content: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[tuple[int, bytes | LineError]]:
    """The lines of a file by their numbers, from 1; nothing follows one that is too long."""
    number, rest = 0, b""
    async for chunk in content:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            number += 1
            yield number, line
        if len(rest) > max_bytes:
            rule = f"a line may have at most {max_bytes} bytes"
            yield number + 1, LineError(code="line_too_long", message=rule, line=number + 1)
            return
    if rest:
        yield number + 1, rest


def read_line(number: int, text: bytes, endpoint: str) -> Line | LineError | None:
    """The request on a line; None where the line is empty."""
    if not text.strip():
        return None
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return LineError(code="invalid_json_line", message=f"not valid JSON: {error}", line=number)
    if not isinstance(fields, dict):
        return LineError(code="invalid_request", message="a line must be a JSON object", line=number)
    for name, rule in _wrong(fields, endpoint):
        code = "mismatched_endpoint" if name == "url" else "invalid_request"
        return LineError(code=code, message=f"{name}: {rule}", param=name, line=number)
    return Line(number, fields["custom_id"], orjson.dumps(fields["body"]))


def _wrong(fields: Mapping[str, Any], endpoint: str) -> list[tuple[str, str]]:
    custom_id, body = fields.get("custom_id"), fields.get("body")
    checks = (
        (
            "custom_id",
            isinstance(custom_id, str) and 0 < len(custom_id) <= MAX_CUSTOM_ID,
            f"a string of 1 to {MAX_CUSTOM_ID} characters is required",
        ),
        ("method", fields.get("method", "POST") == "POST", "must be POST"),
        ("url", fields.get("url") == endpoint, f"must be {endpoint}, the endpoint of the batch"),
        ("body", isinstance(body, dict), "a JSON object is required"),
        ("body", not (isinstance(body, dict) and body.get("stream")), "stream must not be true in a batch"),
    )
    return [(name, rule) for name, holds, rule in checks if not holds]


def answered(line: Line, id: str, body: bytes) -> bytes:
    """The line of a request that was answered; `id` is the request's."""
    response = {"status_code": 200, "request_id": id, "body": orjson.Fragment(body)}
    return _output(line, id, response, None)


def failed(line: Line, id: str, error: RequestError) -> bytes:
    """The line of a request that was answered with an error."""
    response = {"status_code": error.status, "request_id": id, "body": error_json(error)}
    return _output(line, id, response, None)


def not_run(line: Line, id: str, code: str, message: str) -> bytes:
    """The line of a request that was not answered at all."""
    return _output(line, id, None, {"code": code, "message": message})


def _output(line: Line, id: str, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> bytes:
    fields = {"id": f"batch_req_{id}", "custom_id": line.custom_id, "response": response, "error": error}
    return orjson.dumps(fields) + b"\n"
