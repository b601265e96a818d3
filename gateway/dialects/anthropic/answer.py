"""A message, the events of one that is streamed, and an error. The encoder builds these types, and the API's
description is made from them. Source: Anthropic's API reference, "Messages", "Streaming messages" and "Errors"."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypeAliasType, TypedDict

StopReason = Literal["end_turn", "max_tokens", "tool_use", "stop_sequence", "model_context_window_exceeded"]


class TextContent(TypedDict):
    type: Literal["text"]
    text: str


class ThinkingContent(TypedDict):
    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUseContent(TypedDict):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


AnswerContent = TextContent | ThinkingContent | ToolUseContent


class MessageUsage(TypedDict):
    """`input_tokens` are those that were not cached; what the engine does not report is left out."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: NotRequired[int]


class MessageAnswer(TypedDict):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[AnswerContent]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage


class MessageStart(TypedDict):
    type: Literal["message_start"]
    message: MessageAnswer


class ContentBlockStart(TypedDict):
    type: Literal["content_block_start"]
    index: int
    content_block: AnswerContent


class TextDelta(TypedDict):
    type: Literal["text_delta"]
    text: str


class ThinkingDelta(TypedDict):
    type: Literal["thinking_delta"]
    thinking: str


class SignatureDelta(TypedDict):
    type: Literal["signature_delta"]
    signature: str


class InputJsonDelta(TypedDict):
    type: Literal["input_json_delta"]
    partial_json: str


BlockDelta = TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class ContentBlockDelta(TypedDict):
    type: Literal["content_block_delta"]
    index: int
    delta: BlockDelta


class ContentBlockStop(TypedDict):
    type: Literal["content_block_stop"]
    index: int


class StopDelta(TypedDict):
    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(TypedDict):
    type: Literal["message_delta"]
    delta: StopDelta
    usage: MessageUsage


class MessageStop(TypedDict):
    type: Literal["message_stop"]


class Ping(TypedDict):
    """The stream is alive and has nothing to say."""

    type: Literal["ping"]


class MessagesErrorFields(TypedDict):
    """`details` have an `error_code` where a client is to act on one."""

    type: str
    message: str
    details: NotRequired[dict[str, str]]


class MessagesErrorBody(TypedDict):
    type: Literal["error"]
    error: MessagesErrorFields
    request_id: str


MessageEvent = TypeAliasType(
    "MessageEvent",
    MessageStart
    | ContentBlockStart
    | ContentBlockDelta
    | ContentBlockStop
    | MessageDelta
    | MessageStop
    | Ping
    | MessagesErrorBody,
)
