"""The paths that answer by generating, and the API that each path belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.types import Scope

from gateway.dialects.anthropic.envelope import ANTHROPIC
from gateway.dialects.anthropic.messages import Messages
from gateway.dialects.dialect import Dialect, Operation
from gateway.dialects.kserve.envelope import KSERVE, is_kserve
from gateway.dialects.openai.chat import ChatCompletions
from gateway.dialects.openai.completions import Completions
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.responses.create import CreateResponse

OPERATIONS: Final[Mapping[str, Operation]] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": Completions(),
    "/v1/responses": CreateResponse(),
    "/v1/messages": Messages(),
}


def dialect_of(scope: Scope) -> Dialect:
    """The API to which a request belongs: it decides what an error looks like and how a key is presented.

    That of its path; on paths that several APIs have, and on unknown ones, the API that its headers name.
    """
    path: str = scope.get("path", "")
    if operation := OPERATIONS.get(path):
        return operation.dialect
    if path.startswith("/v1/messages/") or is_anthropic(scope):
        return ANTHROPIC
    return KSERVE if is_kserve(path) else OPENAI


def is_anthropic(scope: Scope) -> bool:
    """All clients of Anthropic's API send its version."""
    return any(name == b"anthropic-version" for name, _ in scope.get("headers", ()))
