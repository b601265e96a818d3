"""A response and the items that it consists of. The encoder builds these types, and the API's description is made from
them. Source: OpenAI's API reference, "Responses"."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypeAliasType, TypedDict

from gateway.dialects.openai.answers.tokens import TokenEntry
from gateway.dialects.responses.tool_types import AllowedFunctions, FlatCustom, FlatFunction, ToolReference

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputText(TypedDict):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[TokenEntry]


class InputTextPart(TypedDict):
    type: Literal["input_text"]
    text: str


class ReasoningTextPart(TypedDict):
    type: Literal["reasoning_text"]
    text: str


class OutputMessage(TypedDict):
    id: str
    type: Literal["message"]
    status: ItemStatus
    role: Literal["assistant"]
    content: list[OutputText]


class InputMessage(TypedDict):
    id: str
    type: Literal["message"]
    status: ItemStatus
    role: Literal["user", "system", "developer"]
    content: list[InputTextPart]


class ReasoningItem(TypedDict):
    id: str
    type: Literal["reasoning"]
    status: ItemStatus
    summary: list[Any]
    content: list[ReasoningTextPart]


class FunctionCallItem(TypedDict):
    id: str
    type: Literal["function_call"]
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class FunctionCallOutputItem(TypedDict):
    id: str
    type: Literal["function_call_output"]
    status: ItemStatus
    call_id: str
    output: str


class CustomCallItem(TypedDict):
    id: str
    type: Literal["custom_tool_call"]
    status: ItemStatus
    call_id: str
    name: str
    input: str


class CustomCallOutputItem(TypedDict):
    id: str
    type: Literal["custom_tool_call_output"]
    status: ItemStatus
    call_id: str
    output: str


OutputItem = OutputMessage | ReasoningItem | FunctionCallItem | CustomCallItem
InputItem = (
    InputMessage
    | OutputMessage
    | ReasoningItem
    | FunctionCallItem
    | FunctionCallOutputItem
    | CustomCallItem
    | CustomCallOutputItem
)
ConversationItem = TypeAliasType("ConversationItem", InputItem)


class TextSettings(TypedDict):
    """`format` is as the request has it."""

    format: dict[str, Any]
    verbosity: Literal["low", "medium", "high"]


class ReasoningSettings(TypedDict):
    effort: str | None
    summary: None


class ConversationReference(TypedDict):
    id: str


class Echo(TypedDict):
    """What a response says of the request that asked for it."""

    instructions: str | None
    previous_response_id: str | None
    conversation: ConversationReference | None
    tools: list[FlatFunction | FlatCustom]
    tool_choice: Literal["none", "auto", "required"] | ToolReference | AllowedFunctions
    parallel_tool_calls: bool
    text: TextSettings
    reasoning: ReasoningSettings
    max_output_tokens: int | None
    max_tool_calls: int | None
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    truncation: Literal["auto", "disabled"]
    store: bool
    background: bool
    service_tier: Literal["flex", "default"]
    metadata: dict[str, str]
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    prompt_cache_retention: str | None


class InputTokensDetails(TypedDict):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(TypedDict):
    reasoning_tokens: int


class ResponseUsage(TypedDict):
    """All of these fields are required, so that what is not known is 0 here."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


FailureCode = Literal["server_error", "invalid_prompt", "rate_limit_exceeded"]


class ResponseError(TypedDict):
    """`code` is one of OpenAI's, which typed clients know; `type` is this server's."""

    code: FailureCode
    message: str
    param: NotRequired[str | None]
    type: NotRequired[str]


class IncompleteDetails(TypedDict):
    reason: Literal["max_output_tokens"]


class Response(Echo):
    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: ResponseStatus
    model: str
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    output: list[OutputItem]
    usage: ResponseUsage | None


class ResponseDeleted(TypedDict):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputItemList(TypedDict):
    object: Literal["list"]
    data: list[InputItem]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputTokenCount(TypedDict):
    object: Literal["response.input_tokens"]
    input_tokens: int
