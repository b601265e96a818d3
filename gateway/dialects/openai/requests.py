"""The bodies of the two endpoints: which fields work, and what each may hold. null is the same as absent."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from gateway.answers.backend import Prompt, PromptIds, PromptText
from gateway.answers.request import MAX_GENERATIONS, AnswerRequest
from gateway.dialects.openai.messages import Messages, must_be
from triton_repo.contract.sampling import INT32_MAX, MAX_LOGPROBS, Sampling, invalid_request

Body = TypeVar("Body", bound=BaseModel)

MAX_STOPS: Final = 64  # OpenAI allows 4, but vLLM, llama.cpp and SGLang more
MAX_COMPLETION_LOGPROBS: Final = 5  # of the legacy format
MAX_TEMPLATE_ARGUMENTS_BYTES: Final = 16 * 1024
MAX_TEMPLATE_ARGUMENTS_DEPTH: Final = 253  # orjson writes 254 levels, and a prompt has them one level down
MAX_PROMPT_IDS: Final = 2**20  # of all prompts together: beyond any context, and validation takes 50 ms

StopString = Annotated[str, Field(max_length=1024)]
Stop = Annotated[
    StopString | Annotated[list[StopString], Field(max_length=MAX_STOPS, fail_fast=True)],
    must_be(f"a string or a list of at most {MAX_STOPS} strings, each of at most 1024 characters"),
]


PromptForms = str | list[int] | list[str] | list[list[int]]  # in the API's description


def _whole_number(value: Any) -> Any:
    """Clients whose language has only floats send 100.0; beyond 2^53 a float may stand for another number."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _some_tokens(value: int) -> int:
    if value == 0:
        raise PydanticCustomError("max_tokens", "must be at least 1, or -1 for no limit")
    return value


# -1 is no limit, as in llama.cpp and LM Studio.
MaxTokens = Annotated[int, Field(ge=-1, le=INT32_MAX), AfterValidator(_some_tokens), BeforeValidator(_whole_number)]


def _prompts(value: Any) -> list[PromptText] | list[PromptIds]:
    """The four forms of `prompt`. By hand: pydantic would take half a second over the ids of a large body."""
    several = value if isinstance(value, list) and value and not isinstance(value[0], int) else [value]
    if len(several) <= MAX_GENERATIONS:
        if all(isinstance(prompt, str) and prompt for prompt in several):
            return [PromptText(prompt) for prompt in several]
        if all(isinstance(prompt, list) and prompt for prompt in several):
            if sum(map(len, several)) > MAX_PROMPT_IDS:
                rule = f"may have at most {MAX_PROMPT_IDS} token ids together"
                raise PydanticCustomError("too_many_ids", "{rule}", {"rule": rule})
            if None not in (packed := [_packed(ids) for ids in several]):
                return [PromptIds(ids) for ids in packed if ids is not None]
    raise PydanticCustomError(
        "prompt",
        "must be a string, a list of token ids, or a list of at most {max} strings or lists of token ids, none of them "
        "empty",
        {"max": MAX_GENERATIONS},
    )


def _packed(ids: list[Any]) -> bytes | None:
    if {*map(type, ids)} != {int}:  # not bool, which `array` takes
        return None
    try:
        return array("i", ids).tobytes() if min(ids) >= 0 else None
    except OverflowError:
        return None


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    include_usage: bool | None = None


class GenerationRequest(Sampling):
    """What both endpoints take."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    max_tokens: MaxTokens | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_GENERATIONS)] | None = None
    best_of: int | None = None  # only as many as n
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    service_tier: Literal["auto", "default", "flex", "priority", "scale"] | None = None

    @field_validator("min_tokens", "top_k", "seed", "n", "best_of", mode="before")
    @classmethod
    def _integral(cls, value: Any) -> Any:
        return _whole_number(value)

    @field_validator("best_of")
    @classmethod
    def _as_many_as_n(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value != (info.data.get("n") or 1):
            raise PydanticCustomError("best_of", "must be n: this server does not rank answers")
        return value

    @field_validator("stream_options")
    @classmethod
    def _only_with_stream(cls, value: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if value is not None and value.include_usage and not info.data.get("stream"):
            raise PydanticCustomError("stream_options", "include_usage is allowed only when stream is true")
        return value

    @property
    def num_choices(self) -> int:
        return self.n or 1

    @property
    def stops(self) -> tuple[str, ...]:
        """An empty stop string asks for nothing."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in stops if stop)

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def answer_request(self, prompts: Sequence[Prompt]) -> AnswerRequest:
        batch = self.service_tier == "flex"
        return AnswerRequest(
            self.model, prompts, self.sampling(), self.num_choices, self.stops, bool(self.stream), batch
        )

    def sampling(self, **changes: Any) -> Sampling:
        """The sampling fields alone, validated as part of this body. `top_p` 0 leaves the likeliest token alone."""
        if self.top_p == 0:
            changes |= {"top_p": None, "top_k": 1}
        limit = self.token_limit
        fields = {name: getattr(self, name) for name in Sampling.model_fields}
        return Sampling.model_construct(**(fields | {"max_tokens": None if limit == -1 else limit} | changes))

    @property
    def token_limit(self) -> int | None:
        """As it was sent: -1 is no limit, None leaves it to the engine."""
        return self.max_tokens


class ChatCompletionRequest(GenerationRequest):
    """POST /v1/chat/completions. `max_completion_tokens` wins over `max_tokens`.

    `logprobs` is a switch here; `top_logprobs` is what it is to an engine.
    """

    messages: Messages
    max_completion_tokens: MaxTokens | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    add_special_tokens: Literal[False] | None = None  # the chat template writes them

    @field_validator("top_logprobs", mode="before")
    @classmethod
    def _integral_too(cls, value: Any) -> Any:
        return _whole_number(value)

    @field_validator("top_logprobs")
    @classmethod
    def _only_with_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and not info.data.get("logprobs"):
            raise PydanticCustomError("top_logprobs", "allowed only when logprobs is true")
        return value

    @field_validator("chat_template_kwargs")
    @classmethod
    def _bounded(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and _json_size(value) > MAX_TEMPLATE_ARGUMENTS_BYTES:
            rule = (
                f"must be at most {MAX_TEMPLATE_ARGUMENTS_BYTES} bytes of JSON, "
                f"nested no deeper than {MAX_TEMPLATE_ARGUMENTS_DEPTH}"
            )
            raise PydanticCustomError("chat_template_kwargs", "{rule}", {"rule": rule})
        return value

    def sampling(self, **changes: Any) -> Sampling:
        return super().sampling(
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            **changes,
        )

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def sent_as(self) -> dict[str, str]:
        """Names of an engine's parameters that this body has under other names."""
        names = {}
        if self.max_completion_tokens is not None:
            names["max_tokens"] = "max_completion_tokens"
        if self.top_logprobs:
            names["logprobs"] = "top_logprobs"
        return names


class CompletionRequest(GenerationRequest):
    """POST /v1/completions."""

    prompt: Annotated[list[PromptText] | list[PromptIds], PlainValidator(_prompts, json_schema_input_type=PromptForms)]
    add_special_tokens: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_COMPLETION_LOGPROBS)] | None = None
    top_logprobs: Literal[0] | None = None  # the chat's name for it; only 0 is accepted here

    @property
    def prompts(self) -> list[Prompt]:
        special = self.add_special_tokens
        if special is None:
            return [*self.prompt]
        return [PromptText(it.text, special) if isinstance(it, PromptText) else it for it in self.prompt]


def parse_body(model: type[Body], fields: dict[str, Any]) -> Body:
    """Raises InvalidRequest with the first field that is missing or not allowed."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error) from None


def _json_size(value: dict[str, Any]) -> int:
    try:
        return len(orjson.dumps([value])) - len("[]")
    except TypeError:  # nested too deep to be written, though not to be read
        return MAX_TEMPLATE_ARGUMENTS_BYTES + 1
