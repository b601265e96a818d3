"""What all of Anthropic's endpoints have in common: the form of an error, and how a key is presented.

Source of the formats: Anthropic's API reference, "Errors"; types of errors as in the `anthropic` package 2.14.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from gateway.dialects.anthropic.answer import MessagesErrorBody, MessagesErrorFields
from triton_repo.contract.errors import ContextLengthExceeded, EngineUnavailable, RequestError, UnsupportedParameter

_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


class ThreadUnsupported(UnsupportedParameter):
    """A conversation that the server is to keep; the client then sends all of it itself."""

    code = "thread_unsupported_request"


class Anthropic:
    key_hint: Final = "x-api-key: KEY"
    error_model: Final = MessagesErrorBody
    ping: Final = b'event: ping\ndata: {"type": "ping"}\n\n'  # clients that watch for events do not see comments
    id_headers: Final = (b"request-id",)

    def error_body(self, error: RequestError, request_id: str) -> bytes:
        return orjson.dumps(error_json(error, request_id))

    def api_keys(self, headers: Mapping[bytes, list[bytes]]) -> list[bytes]:
        """Those of `x-api-key: KEY`, and of `Authorization: Bearer KEY`."""
        given = [value.partition(b" ") for value in headers.get(b"authorization", [])]
        bearers = [key.strip() for scheme, _, key in given if scheme.lower() == b"bearer"]
        return [*headers.get(b"x-api-key", []), *bearers]


def error_json(error: RequestError, request_id: str) -> MessagesErrorBody:
    """The form of an error, as a body and as the last event of a stream."""
    fields: MessagesErrorFields = {"type": _type(error), "message": _message(error)}
    if isinstance(error, ThreadUnsupported):
        fields["details"] = {"error_code": error.code or ""}
    return {"type": "error", "error": fields, "request_id": request_id}


def _type(error: RequestError) -> str:
    if isinstance(error, EngineUnavailable):
        return "overloaded_error"
    return _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")


def _message(error: RequestError) -> str:
    """Agents look for these words: they then shorten the conversation and try again."""
    if isinstance(error, ContextLengthExceeded) and error.param != "max_tokens":
        return f"prompt is too long: {error.message}"
    return error.message


ANTHROPIC: Final = Anthropic()
