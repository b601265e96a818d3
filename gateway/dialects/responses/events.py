"""The events of a response that is streamed. Source: OpenAI's API reference, "Streaming events" of Responses."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypeAliasType, TypedDict

from gateway.dialects.openai.answers.tokens import TokenEntry
from gateway.dialects.responses.resource import OutputItem, OutputText, ReasoningTextPart, Response


class Numbered(TypedDict):
    """Events are numbered from 0."""

    sequence_number: int


class ItemPlace(TypedDict):
    item_id: str
    output_index: int


class PartPlace(ItemPlace):
    content_index: int


class OutputItemAdded(Numbered):
    type: Literal["response.output_item.added"]
    output_index: int
    item: OutputItem


class OutputItemDone(Numbered):
    type: Literal["response.output_item.done"]
    output_index: int
    item: OutputItem


class ContentPartAdded(Numbered, PartPlace):
    type: Literal["response.content_part.added"]
    part: OutputText | ReasoningTextPart


class ContentPartDone(Numbered, PartPlace):
    type: Literal["response.content_part.done"]
    part: OutputText | ReasoningTextPart


class OutputTextDelta(Numbered, PartPlace):
    type: Literal["response.output_text.delta"]
    delta: str
    logprobs: list[TokenEntry]


class OutputTextDone(Numbered, PartPlace):
    type: Literal["response.output_text.done"]
    text: str
    logprobs: list[TokenEntry]


class ReasoningTextDelta(Numbered, PartPlace):
    type: Literal["response.reasoning_text.delta"]
    delta: str


class ReasoningTextDone(Numbered, PartPlace):
    type: Literal["response.reasoning_text.done"]
    text: str


class CallArgumentsDelta(Numbered, ItemPlace):
    type: Literal["response.function_call_arguments.delta"]
    delta: str


class CallArgumentsDone(Numbered, ItemPlace):
    type: Literal["response.function_call_arguments.done"]
    name: str
    arguments: str


class CustomInputDelta(Numbered, ItemPlace):
    type: Literal["response.custom_tool_call_input.delta"]
    delta: str


class CustomInputDone(Numbered, ItemPlace):
    type: Literal["response.custom_tool_call_input.done"]
    input: str


LifecycleType = Literal[
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.completed",
    "response.incomplete",
    "response.failed",
]


class Lifecycle(Numbered):
    """The response as it is now."""

    type: LifecycleType
    response: Response


# Those that tell of the output.
OutputEvent = (
    OutputItemAdded
    | OutputItemDone
    | ContentPartAdded
    | ContentPartDone
    | OutputTextDelta
    | OutputTextDone
    | ReasoningTextDelta
    | ReasoningTextDone
    | CallArgumentsDelta
    | CallArgumentsDone
    | CustomInputDelta
    | CustomInputDone
)
ResponseEvent = TypeAliasType("ResponseEvent", OutputEvent | Lifecycle)
