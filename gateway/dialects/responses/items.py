"""The kinds of items: messages, tool calls and their outputs, reasoning.

Clients send back what this server or OpenAI has answered, so all of what either writes is taken; content is text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway.dialects.depth import check_depth
from gateway.dialects.openai.messages import must_be
from gateway.dialects.responses.resource import (
    CustomCallItem,
    CustomCallOutputItem,
    FunctionCallItem,
    FunctionCallOutputItem,
    InputMessage,
    OutputMessage,
    ReasoningItem,
)

MAX_PARTS: Final = 4096  # of all items together: validation must not hold up the event loop

Json = dict[str, Any]


class ItemValue(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _TextPart(ItemValue):
    type: Literal["input_text", "output_text", "text", "reasoning_text", "summary_text"]
    text: str


class _RefusalPart(ItemValue):
    type: Literal["refusal"]
    text: Annotated[str, Field(alias="refusal")]


_Parts = Annotated[
    list[Annotated[_TextPart | _RefusalPart, Field(discriminator="type")]], Field(max_length=MAX_PARTS, fail_fast=True)
]


def _text(content: str | Sequence[_TextPart | _RefusalPart] | None) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content or ())


Content = Annotated[
    str | _Parts,
    must_be('a string or a list of {"type": "input_text", "text": ...} parts; no images, audio or files'),
]
_ReasoningText = Annotated[
    str | _Parts | None,
    must_be('a list of {"type": "reasoning_text", "text": ...} parts'),
]
ItemId = Annotated[str, Field(min_length=1, max_length=256)]


def _as_text(arguments: Any) -> Any:
    """Some servers give the object itself."""
    return orjson.dumps(check_depth(arguments)).decode() if isinstance(arguments, dict) else arguments


class Message(ItemValue):
    type: Literal["message"] = "message"
    id: ItemId | None = None
    role: Literal["user", "system", "developer"]
    content: Content

    def as_item(self, id: str) -> InputMessage:
        return {
            "id": self.id or f"msg_{id}",
            "type": "message",
            "status": "completed",
            "role": self.role,
            "content": [{"type": "input_text", "text": _text(self.content)}],
        }


class AnswerMessage(ItemValue):
    type: Literal["message"] = "message"
    id: ItemId | None = None
    role: Literal["assistant"]
    content: Content

    def as_item(self, id: str) -> OutputMessage:
        return {
            "id": self.id or f"msg_{id}",
            "type": "message",
            "status": "completed",
            "role": self.role,
            "content": [{"type": "output_text", "text": _text(self.content), "annotations": [], "logprobs": []}],
        }


class FunctionCall(ItemValue):
    type: Literal["function_call"]
    id: ItemId | None = None
    call_id: ItemId
    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: Annotated[str, BeforeValidator(_as_text)]

    def as_item(self, id: str) -> FunctionCallItem:
        return {
            "id": self.id or f"fc_{id}",
            "type": "function_call",
            "status": "completed",
            "call_id": self.call_id,
            "name": self.name,
            "arguments": self.arguments,
        }


class FunctionCallOutput(ItemValue):
    type: Literal["function_call_output"]
    id: ItemId | None = None
    call_id: ItemId
    output: Content

    def as_item(self, id: str) -> FunctionCallOutputItem:
        return {
            "id": self.id or f"fco_{id}",
            "type": "function_call_output",
            "status": "completed",
            "call_id": self.call_id,
            "output": _text(self.output),
        }


class CustomCall(ItemValue):
    type: Literal["custom_tool_call"]
    id: ItemId | None = None
    call_id: ItemId
    name: Annotated[str, Field(min_length=1, max_length=256)]
    input: str

    def as_item(self, id: str) -> CustomCallItem:
        return {
            "id": self.id or f"ctc_{id}",
            "type": "custom_tool_call",
            "status": "completed",
            "call_id": self.call_id,
            "name": self.name,
            "input": self.input,
        }


class CustomCallOutput(ItemValue):
    type: Literal["custom_tool_call_output"]
    id: ItemId | None = None
    call_id: ItemId
    output: Content

    def as_item(self, id: str) -> CustomCallOutputItem:
        return {
            "id": self.id or f"ctco_{id}",
            "type": "custom_tool_call_output",
            "status": "completed",
            "call_id": self.call_id,
            "output": _text(self.output),
        }


class Reasoning(ItemValue):
    """Its text is `content`; a `summary` stands for it where there is none."""

    type: Literal["reasoning"]
    id: ItemId | None = None
    summary: _ReasoningText = None
    content: _ReasoningText = None

    def as_item(self, id: str) -> ReasoningItem:
        return {
            "id": self.id or f"rs_{id}",
            "type": "reasoning",
            "status": "completed",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": _text(self.content) or _text(self.summary)}],
        }
