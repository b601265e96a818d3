"""The body of every error of OpenAI's endpoints, and the last event of a stream that fails."""

from __future__ import annotations

from typing_extensions import TypedDict


class ErrorFields(TypedDict):
    """`param` is the name of the parameter at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    error: ErrorFields
