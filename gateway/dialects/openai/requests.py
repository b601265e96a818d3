"""The bodies of the two endpoints: which fields work, and what each may hold. null is the same as absent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from gateway.dialects.openai.messages import AssistantMessage, Message
from gateway.dialects.openai.rules import must_be
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.sampling import MAX_LOGPROBS, Count, Sampling, TokenId

MAX_GENERATIONS = 128  # n times prompts: what one HTTP request may start
MAX_MESSAGES = 4096
MAX_COMPLETION_LOGPROBS = 5  # of the legacy format
MAX_TEMPLATE_ARGUMENTS_BYTES = 16 * 1024
MAX_TEMPLATE_ARGUMENTS_DEPTH = 253  # orjson writes 254 levels, and a prompt has them one level down

StopString = Annotated[str, Field(min_length=1, max_length=256)]
Stop = Annotated[
    StopString | Annotated[list[StopString], Field(max_length=4, fail_fast=True)],
    must_be("a string or a list of at most 4 strings, each of 1 to 256 characters"),
]
PromptText = Annotated[str, Field(min_length=1)]
# Beyond any context; bounds the work.
PromptIds = Annotated[list[TokenId], Field(min_length=1, max_length=2**20, fail_fast=True)]
Prompts = Annotated[
    PromptText
    | PromptIds
    | Annotated[list[PromptText], Field(min_length=1, max_length=MAX_GENERATIONS, fail_fast=True)]
    | Annotated[list[PromptIds], Field(min_length=1, max_length=MAX_GENERATIONS, fail_fast=True)],
    must_be(
        f"a string, a list of token ids, or a list of at most {MAX_GENERATIONS} strings or lists of token ids, "
        "none of them empty"
    ),
]


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    include_usage: bool | None = None


class GenerationRequest(Sampling):
    """What both endpoints take."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    n: Annotated[int, Field(ge=1, le=MAX_GENERATIONS)] | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=512)] | None = None  # for the operator's logs; nothing is ever found by it

    @field_validator("stream_options")
    @classmethod
    def _only_with_stream(cls, value: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if value is not None and not info.data.get("stream"):
            raise PydanticCustomError("stream_options", "allowed only when stream is true")
        return value

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> Sampling:
        """The sampling fields alone."""
        return Sampling.model_validate(vars(self))

    @contextmanager
    def in_its_own_words(self) -> Iterator[None]:
        """An engine's complaint leaves this context under the parameter name that the client used."""
        yield


class ChatCompletionRequest(GenerationRequest):
    """POST /v1/chat/completions. `max_completion_tokens` wins over `max_tokens`.

    `logprobs` is a switch here; `top_logprobs` is what it is to an engine.
    """

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]
    max_completion_tokens: Count | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None

    @field_validator("top_logprobs")
    @classmethod
    def _only_with_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and not info.data.get("logprobs"):
            raise PydanticCustomError("top_logprobs", "allowed only when logprobs is true")
        return value

    @field_validator("messages")
    @classmethod
    def _say_something(cls, messages: list[Message]) -> list[Message]:
        for message in messages:
            if isinstance(message, AssistantMessage) and message.content is None and not message.tool_calls:
                raise PydanticCustomError("content", "an assistant message needs content or tool_calls")
        return messages

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

    def sampling(self) -> Sampling:
        return Sampling.model_validate(
            {
                **vars(self),
                "max_tokens": self.max_completion_tokens or self.max_tokens,
                "logprobs": (self.top_logprobs or 0) if self.logprobs else None,
            }
        )

    @contextmanager
    def in_its_own_words(self) -> Iterator[None]:
        try:
            yield
        except InvalidRequest as error:
            if error.param == "max_tokens" and self.max_completion_tokens is not None:
                error.param = "max_completion_tokens"
            if error.param == "logprobs" and self.top_logprobs:
                error.param = "top_logprobs"
            raise


class CompletionRequest(GenerationRequest):
    """POST /v1/completions."""

    prompt: Prompts
    logprobs: Annotated[int, Field(ge=0, le=MAX_COMPLETION_LOGPROBS)] | None = None
    top_logprobs: Literal[0] | None = None  # a chat's word for it

    @property
    def prompts(self) -> list[str | tuple[int, ...]]:
        prompt: Any = self.prompt
        several = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]
        return [item if isinstance(item, str) else tuple(item) for item in several]


def _json_size(value: dict[str, Any]) -> int:
    try:
        return len(orjson.dumps([value])) - len("[]")
    except TypeError:  # nested too deep to be written, though not to be read
        return MAX_TEMPLATE_ARGUMENTS_BYTES + 1
