"""What the bodies of both generating endpoints have in common. null is the same as absent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from gateway.admission.terms import PRIORITY
from gateway.answers.backend import Prompt
from gateway.answers.request import MAX_GENERATIONS, AnswerRequest
from gateway.dialects.body import ModelName
from gateway.dialects.openai.messages import must_be
from gateway.dialects.openai.requests.response_format import FormedRequest
from triton_repo.contract.sampling import GUIDE_FIELDS, INT32_MAX, Sampling

MAX_STOPS: Final = 64  # OpenAI allows 4, but vLLM, llama.cpp and SGLang more

StopString = Annotated[str, Field(max_length=1024)]
Stop = Annotated[
    StopString | Annotated[list[StopString], Field(max_length=MAX_STOPS, fail_fast=True)],
    must_be(f"a string or a list of at most {MAX_STOPS} strings, each of at most 1024 characters"),
]


def whole_number(value: Any) -> Any:
    """Clients whose language has only floats send 100.0; beyond 2^53 a float may stand for another number."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _some_tokens(value: int) -> int:
    if value == 0:
        raise PydanticCustomError("max_tokens", "must be at least 1, or -1 for no limit")
    return value


# -1 is no limit, as in llama.cpp and LM Studio.
MaxTokens = Annotated[int, Field(ge=-1, le=INT32_MAX), AfterValidator(_some_tokens), BeforeValidator(whole_number)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


def _engines_priority(value: int | float) -> float:
    """As TensorRT-LLM has it: 0 to 1, higher ones first. An integer is vLLM's: lower ones first, 0 by default."""
    return PRIORITY - value / (2 * (1 + abs(value))) if type(value) is int else value


def _on_its_scale(value: int | float) -> int | float:
    if type(value) is float and not 0 <= value <= 1:
        raise PydanticCustomError("priority", "must be an integer (lower first), or from 0.0 to 1.0 (higher first)")
    return value


EitherPriority = Annotated[int | float, AfterValidator(_on_its_scale)]
Name = Annotated[str, Field(max_length=512)]


class GenerationRequest(FormedRequest):
    """What both endpoints take."""

    model: ModelName
    max_tokens: MaxTokens | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_GENERATIONS)] | None = None
    stop: Stop | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=INT32_MAX)] | None = None
    return_token_ids: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_GENERATIONS)] | None = None
    priority: EitherPriority | None = None
    service_tier: Literal["auto", "default", "flex", "priority", "scale"] | None = None
    # They tell who asks and ask for nothing.
    user: Name | None = None
    safety_identifier: Name | None = None
    prompt_cache_key: Name | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    metadata: Any = None

    @field_validator(
        "min_tokens", "top_k", "seed", "n", "best_of", "truncate_prompt_tokens", "prompt_logprobs", mode="before"
    )
    @classmethod
    def _integral(cls, value: Any) -> Any:
        return whole_number(value)

    @field_validator("best_of")
    @classmethod
    def _as_many_as_n(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value != (info.data.get("n") or 1):
            raise PydanticCustomError("best_of", "must be n in a chat: only completions are ranked")
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

    @property
    def continuous_usage(self) -> bool:
        """As in vLLM, `include_usage` false forbids it."""
        options = self.stream_options
        return bool(options and options.continuous_usage_stats and options.include_usage is not False)

    def answer_request(self, prompts: Sequence[Prompt]) -> AnswerRequest:
        return AnswerRequest(
            self.model,
            prompts,
            self.sampling(),
            self.num_choices,
            self.stops,
            stream=bool(self.stream),
            batch=self.service_tier == "flex",
            keep_stop=bool(self.include_stop_str_in_output),
            keep_special=self.skip_special_tokens is False,
            truncate_prompt_tokens=self.truncate_prompt_tokens or None,
            token_ids=bool(self.return_token_ids),
        )

    def sampling(self, **changes: Any) -> Sampling:
        """The sampling fields alone, validated as part of this body. `top_p` 0 leaves the likeliest token alone."""
        if self.top_p == 0:
            changes |= {"top_p": None, "top_k": 1}
        if (form := self.form) is not None:
            changes |= dict(zip(GUIDE_FIELDS, form.guide, strict=True))
        if self.priority is not None:
            changes["priority"] = _engines_priority(self.priority)
        limit = self.token_limit
        fields = {name: getattr(self, name) for name in Sampling.model_fields}
        return Sampling.model_construct(**(fields | {"max_tokens": None if limit == -1 else limit} | changes))

    @property
    def token_limit(self) -> int | None:
        """As it was sent: -1 is no limit, None leaves it to the engine."""
        return self.max_tokens
