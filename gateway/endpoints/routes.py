"""The paths that answer by generating, and the API that each path belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.dialects.dialect import Dialect, Operation
from gateway.dialects.openai.chat import ChatCompletions
from gateway.dialects.openai.completions import Completions
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.responses.create import CreateResponse

OPERATIONS: Final[Mapping[str, Operation]] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": Completions(),
    "/v1/responses": CreateResponse(),
}


def dialect_of(path: str) -> Dialect:
    """The API to which a path belongs: it decides what an error looks like and how a key is presented."""
    operation = OPERATIONS.get(path)
    return OPENAI if operation is None else operation.dialect
