"""The body of POST /v1/responses. null is the same as absent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gateway.answers.reasoning import Effort
from gateway.dialects.body import ModelName
from gateway.dialects.openai.requests.chat import MAX_TEMPLATE_ARGUMENTS_BYTES
from gateway.dialects.openai.requests.forms import Form, schema_form
from gateway.dialects.openai.requests.generation import MaxTokens, Stop, whole_number
from gateway.dialects.openai.requests.response_format import FormedRequest
from gateway.dialects.openai.requests.schema_field import Schema
from gateway.dialects.responses.conversation import ConversationId, Metadata
from gateway.dialects.responses.includable import LOGPROBS, fault_of
from gateway.dialects.responses.input import Input
from gateway.dialects.responses.tools import OfferedTools, ToolChoice
from triton_repo.contract.model_card import REASONING_EFFORT
from triton_repo.contract.sampling import GUIDE_FIELDS, MAX_LOGPROBS, UNSUPPORTED, Sampling


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class TextFormat(_Value):
    type: Literal["text"]


class JsonObjectFormat(_Value):
    type: Literal["json_object"]


class JsonSchemaFormat(_Value):
    type: Literal["json_schema"]
    name: Annotated[str, Field(max_length=256)] | None = None
    schema_: Annotated[Schema, Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


def _form(format: Format) -> Form | None:
    """None for plain text."""
    match format:
        case JsonObjectFormat():
            return schema_form(None)
        case JsonSchemaFormat(schema_=schema, strict=strict):
            return schema_form(schema, strict=strict, param="text")
        case TextFormat():
            return None


Format = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class TextConfig(_Value):
    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(_Value):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None  # the former name of `summary`


class StreamOptions(_Value):
    include_obfuscation: bool | None = None
    include_usage: bool | None = None  # the last event always has it


def _nothing(value: Any) -> Any:
    if value:
        raise PydanticCustomError(UNSUPPORTED, "this server does not support this parameter")
    return None


def _bounded(arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        fits = len(orjson.dumps([arguments])) <= MAX_TEMPLATE_ARGUMENTS_BYTES + len("[]")
    except TypeError:  # nested too deep to be written, though not to be read
        fits = False
    if not fits:
        rule = f"must be at most {MAX_TEMPLATE_ARGUMENTS_BYTES} bytes of JSON, nested no deeper than 253"
        raise PydanticCustomError("chat_template_kwargs", "{rule}", {"rule": rule})
    return arguments


Unsupported = Annotated[None, BeforeValidator(_nothing)]
Label = Annotated[str, Field(max_length=512)]


class ResponsesRequest(FormedRequest):
    """POST /v1/responses. What `Sampling` has and OpenAI has not (`top_k`, `seed`, …) is taken as in a chat."""

    model: ModelName
    input: Input | None = None
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(max_length=256)] | None = None
    conversation: ConversationId | None = None
    tools: OfferedTools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    include: list[str] | None = None
    max_output_tokens: MaxTokens | None = None
    max_tokens: Unsupported = None  # of an engine; here it is max_output_tokens
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS), BeforeValidator(whole_number)] | None = None
    logprobs: Unsupported = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    background: bool | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "default", "flex", "priority", "scale", "fast"] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    max_tool_calls: Annotated[int, Field(ge=1), BeforeValidator(whole_number)] | None = None  # of built-in tools
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    chat_template_kwargs: Annotated[dict[str, Any], AfterValidator(_bounded)] | None = None
    context_management: Unsupported = None
    moderation: Unsupported = None
    prompt: Unsupported = None

    @field_validator("min_tokens", "top_k", "seed", mode="before")
    @classmethod
    def _integral(cls, value: Any) -> Any:
        return whole_number(value)

    @field_validator("include")
    @classmethod
    def _includable(cls, value: list[str] | None) -> list[str] | None:
        if (fault := fault_of(value or ())) is not None:
            raise PydanticCustomError("include", "{fault}", {"fault": fault})
        return value

    @field_validator("background")
    @classmethod
    def _stored(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        if value and info.data.get("store") is False:
            raise PydanticCustomError("background", "must be false where store is: the answer could not be had")
        return value

    @model_validator(mode="after")
    def _has_one_context(self) -> ResponsesRequest:
        if self.conversation is not None and self.previous_response_id is not None:
            raise PydanticCustomError(
                "two_contexts", "conversation and previous_response_id exclude each other: give only one of them"
            )
        if not self.input and self.previous_response_id is None and self.conversation is None:
            raise PydanticCustomError("missing_input", "input must have at least one item")
        return self

    def sampling(self, **changes: Any) -> Sampling:
        """The sampling fields alone, validated as part of this body. `top_p` 0 leaves the likeliest token alone."""
        if self.top_p == 0:
            changes |= {"top_p": None, "top_k": 1}
        if (form := self.form) is not None:
            changes |= dict(zip(GUIDE_FIELDS, form.guide, strict=True))
        limit = None if self.max_output_tokens == -1 else self.max_output_tokens
        fields = {name: getattr(self, name) for name in Sampling.model_fields}
        return Sampling.model_construct(**(fields | {"max_tokens": limit, "logprobs": self.num_logprobs} | changes))

    @property
    def sent_as(self) -> dict[str, str]:
        """Names of an engine's parameters that this body has under other names."""
        names = {"max_tokens": "max_output_tokens", "messages": "input", "prompt": "input", **self.form_sent_as}
        names[REASONING_EFFORT] = "reasoning.effort"
        return names | ({"logprobs": "top_logprobs"} if self.top_logprobs else {})

    def _forms(self) -> dict[str, tuple[Any, Callable[[Any], Form | None]]]:
        given = self.text and self.text.format
        return super()._forms() | {"text": (None if isinstance(given, TextFormat) else given, _form)}

    @property
    def effort(self) -> Effort | None:
        return self.reasoning.effort if self.reasoning is not None else None

    @property
    def is_stored(self) -> bool:
        return self.store is not False

    @property
    def num_logprobs(self) -> int | None:
        """How many alternatives to each token are listed; None where no logprobs are."""
        return (self.top_logprobs or 0) if self.top_logprobs or LOGPROBS in (self.include or ()) else None

    @property
    def stops(self) -> tuple[str, ...]:
        """An empty stop string asks for nothing."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in stops if stop)
