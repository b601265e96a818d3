"""A chat completion, whole and in chunks. Source: OpenAI's API reference, "Chat"."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypeAliasType, TypedDict

from gateway.answers.events import FinalReason
from gateway.dialects.openai.answers.error import ErrorBody
from gateway.dialects.openai.answers.tokens import ChatLogprobs, CompletionUsage, OfChoice, OfPrompt

ChatReason = FinalReason | Literal["function_call"]


class CalledFunction(TypedDict):
    """`arguments` are JSON, as the model wrote it."""

    name: str
    arguments: str


class ChatToolCall(TypedDict):
    id: str
    type: Literal["function"]
    function: CalledFunction


class CalledCustom(TypedDict):
    """`input` is text, as the model wrote it."""

    name: str
    input: str


class ChatCustomCall(TypedDict):
    id: str
    type: Literal["custom"]
    custom: CalledCustom


class ReasoningText(TypedDict, total=False):
    """Under both of the names that clients look for."""

    reasoning_content: str
    reasoning: str


class ChatMessage(ReasoningText):
    """A call is a `function_call` where the request has `functions`."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: NotRequired[list[ChatToolCall | ChatCustomCall]]
    function_call: NotRequired[CalledFunction]


class ChatChoice(OfChoice):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: ChatReason


class ChatCompletion(OfPrompt):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: CompletionUsage
    system_fingerprint: str


class CalledFunctionDelta(TypedDict):
    name: NotRequired[str | None]
    arguments: str


class ChatToolCallDelta(TypedDict):
    """`id`, `type` and the name come with the first part of a call."""

    index: int
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: CalledFunctionDelta


class CalledCustomDelta(TypedDict):
    name: NotRequired[str | None]
    input: str


class ChatCustomCallDelta(TypedDict):
    """As that of a function."""

    index: int
    id: NotRequired[str]
    type: NotRequired[Literal["custom"]]
    custom: CalledCustomDelta


class ChatDelta(ReasoningText, total=False):
    role: Literal["assistant"]
    content: str
    tool_calls: list[ChatToolCallDelta | ChatCustomCallDelta]
    function_call: CalledFunctionDelta


class ChatChunkChoice(OfChoice):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: ChatReason | None


class ChatChunkHead(TypedDict):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str


class ChatCompletionChunk(ChatChunkHead, OfPrompt):
    """The first one tells of the prompt, where that was asked for. `usage` is there where it was asked for, and null
    before the last chunk, unless each was to have it."""

    choices: list[ChatChunkChoice]
    usage: NotRequired[CompletionUsage | None]


ChatStreamEvent = TypeAliasType("ChatStreamEvent", ChatCompletionChunk | ErrorBody)
