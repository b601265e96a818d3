"""Chat messages: OpenAI's roles, text content, and the tool calls of earlier turns."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.dialects.openai.rules import must_be


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class TextPart(_Value):
    type: Literal["text"]
    text: str


def _joined(content: str | list[TextPart]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


Content = Annotated[
    str | Annotated[list[TextPart], Field(max_length=256, fail_fast=True)],
    AfterValidator(_joined),
    must_be('a string or a list of at most 256 {"type": "text", "text": ...} parts; no images, audio or files'),
]


class FunctionCall(_Value):
    name: str
    arguments: str


class ToolCall(_Value):
    id: str
    type: Literal["function"]
    function: FunctionCall


class PromptMessage(_Value):
    role: Literal["system", "developer", "user"]
    content: Content
    name: str | None = None


class AssistantMessage(_Value):
    """An earlier answer. Clients send back whole answers, so fields that OpenAI leaves null are known by name."""

    role: Literal["assistant"]
    content: Content | None = None
    name: str | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128, fail_fast=True)] | None = None
    audio: None = None
    function_call: None = None


class ToolMessage(_Value):
    role: Literal["tool"]
    content: Content
    tool_call_id: str


Message = Annotated[PromptMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


def template_message(message: PromptMessage | AssistantMessage | ToolMessage) -> dict[str, Any]:
    """The message as a chat template reads it; `content` is always there, None only beside tool calls."""
    return {"role": message.role, "content": message.content, **message.model_dump(exclude_none=True)}
