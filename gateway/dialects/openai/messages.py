"""Chat messages: OpenAI's roles, text content, and the tool calls of earlier turns.

Clients send back what this server, OpenAI or another server has answered, so the forms that those give are taken.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from gateway.answers.calls.custom_input import arguments_of
from gateway.dialects.depth import Shallow

MAX_MESSAGES: Final = 4096
MAX_PARTS: Final = 4096  # and tool calls, of all messages together: validation must not hold up the event loop

_PARTS: Final = ("content", "tool_calls")


def must_be(rule: str) -> WrapValidator:
    """Replace pydantic's error per member of a union by one sentence that says what is allowed."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("must_be", "must be {rule}", {"rule": rule}) from None

    return WrapValidator(validate)


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class TextPart(_Value):
    type: Literal["text"]
    text: str


class OutputTextPart(_Value):
    """Text as the Responses API gives it."""

    type: Literal["output_text"]
    text: str


class RefusalPart(_Value):
    type: Literal["refusal"]
    text: Annotated[str, Field(alias="refusal")]


class ThinkingPart(_Value):
    """Reasoning of an earlier answer; not part of its text."""

    type: Literal["thinking"]

    @property
    def text(self) -> str:
        return ""


AnswerPart = Annotated[TextPart | OutputTextPart | RefusalPart | ThinkingPart, Field(discriminator="type")]


def _joined(content: Any) -> Any:
    return "".join(part.text for part in content) if isinstance(content, list) else content


Content = Annotated[
    str | Annotated[list[TextPart], Field(fail_fast=True)],
    AfterValidator(_joined),
    must_be('a string or a list of {"type": "text", "text": ...} parts; no images, audio or files'),
]
AnswerContent = Annotated[
    str | Annotated[list[AnswerPart], Field(fail_fast=True)] | None,
    AfterValidator(_joined),
    must_be("a string, null or a list of text and refusal parts"),
]


ToolContent = Annotated[
    str | Annotated[list[TextPart], Field(fail_fast=True)] | None,
    AfterValidator(_joined),
    AfterValidator(lambda content: content or ""),
    must_be('a string, null or a list of {"type": "text", "text": ...} parts; no images, audio or files'),
]


class FunctionCall(_Value):
    """`arguments` are JSON text, or the object itself, as Ollama and others have it."""

    name: str
    arguments: str | Shallow[dict[str, Any]] | None = None


class ToolCall(_Value):
    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCall


def _as_function(call: Any) -> Any:
    """The call of a custom tool, as the model sees it."""
    custom = call.get("custom") if isinstance(call, dict) and call.get("type") == "custom" else None
    if not isinstance(custom, dict) or not isinstance(custom.get("input"), str):
        return call
    function = {"name": custom.get("name"), "arguments": arguments_of(custom["input"])}
    return {**call, "type": "function", "function": function}


_AnyCall = Annotated[ToolCall, BeforeValidator(_as_function)]


class PromptMessage(_Value):
    role: Literal["system", "developer", "user"]
    content: Content
    name: str | None = None


class AssistantMessage(_Value):
    """An earlier answer. The content of one without any text, refusal or tool call is empty."""

    role: Literal["assistant"]
    content: AnswerContent = None
    refusal: str | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # another name of it
    tool_calls: Annotated[list[_AnyCall], Field(max_length=128, fail_fast=True)] | None = None
    audio: None = None
    function_call: FunctionCall | None = None  # a tool call in the words of 2023
    # Prefilled answers of DeepSeek, Mistral and Moonshot: an answer that the model is to continue.
    prefix: bool | None = None
    partial: bool | None = None


class ToolMessage(_Value):
    role: Literal["tool"]
    content: ToolContent
    tool_call_id: str | None = None
    name: str | None = None  # of the function; some templates write it


class FunctionMessage(_Value):
    """What the function of a `function_call` returned."""

    role: Literal["function"]
    content: ToolContent
    name: str


AnyMessage = PromptMessage | AssistantMessage | ToolMessage | FunctionMessage


def _few_parts(messages: Any) -> Any:
    """Counted before they are validated, which costs a hundred times as much."""
    if isinstance(messages, list):
        given = [message.get(name) for message in messages if isinstance(message, dict) for name in _PARTS]
        if sum(len(parts) for parts in given if isinstance(parts, list)) > MAX_PARTS:
            rule = f"may have at most {MAX_PARTS} content parts and tool calls together"
            raise PydanticCustomError("too_many_parts", "{rule}", {"rule": rule})
    return messages


def _only_the_last_is_begun(messages: list[AnyMessage]) -> list[AnyMessage]:
    if any(map(is_begun, messages[:-1])):
        raise PydanticCustomError("not_last", "prefix and partial are allowed in the last message alone")
    return messages


def is_begun(message: AnyMessage) -> bool:
    """Whether it is an answer that the model is to continue, in DeepSeek's, Mistral's and Moonshot's words."""
    return isinstance(message, AssistantMessage) and bool(message.prefix or message.partial)


Messages = Annotated[
    list[Annotated[AnyMessage, Field(discriminator="role")]],
    Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True),
    BeforeValidator(_few_parts),
    AfterValidator(_only_the_last_is_begun),
]


def template_message(message: AnyMessage) -> dict[str, Any]:
    """The message as a chat template reads it; `content` is always there, None only with tool calls."""
    fields = {"role": message.role, "content": message.content, **message.model_dump(exclude_none=True)}
    if isinstance(message, PromptMessage) and message.role == "developer":
        fields["role"] = "system"  # OpenAI's newer name for it, which most templates drop in silence
    if isinstance(message, FunctionMessage):
        fields["role"] = "tool"  # its call has no id, and gets one where the template needs it
    if isinstance(message, AssistantMessage):
        refusal = fields.pop("refusal", "")
        other_name = fields.pop("reasoning", None)
        if reasoning := message.reasoning_content or other_name:
            fields["reasoning_content"] = reasoning
        call = fields.pop("function_call", None)
        calls = fields.pop("tool_calls", None) or ([{"type": "function", "function": call}] if call else None)
        fields = {name: value for name, value in fields.items() if name not in ("prefix", "partial")}
        if calls:  # templates ask whether the key is there
            fields["tool_calls"] = calls
        elif fields["content"] is None:
            fields["content"] = refusal
    return fields
