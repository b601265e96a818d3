"""What an answer looks like on the wire, apart from how it is sent: one shape per endpoint.

Source of the formats: OpenAI's API reference, "Chat" and "Completions (legacy)"; the order of the keys is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from gateway.answers.backend import Prompt
from gateway.dialects.openai.logprobs import Token
from gateway.dialects.openai.requests import GenerationRequest
from triton_repo.contract.tensors import ModelCard

Json = dict[str, Any]
FinalReason = Literal["stop", "length"]
Body = TypeVar("Body", bound=GenerationRequest)


class Piece(NamedTuple):
    """What is added to one choice, by its index; the last piece of a choice, and only that, has a finish reason."""

    choice: int
    text: str
    finish_reason: FinalReason | None
    tokens: Sequence[Token] | None = None  # None where nobody asked for logprobs


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of a whole HTTP request; `cached_tokens` None is not reported by the engine."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None

    def to_json(self) -> Json:
        usage: Json = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
        if self.cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        return usage


@dataclass(frozen=True, slots=True)
class Head:
    """What every chunk of one answer repeats."""

    id: str
    created: int  # unix seconds
    model: str
    fingerprint: str  # the same as long as the same build answers


class Shape(Protocol, Generic[Body]):
    """One endpoint's view of prompts and answers."""

    @property
    def body(self) -> type[Body]: ...

    @property
    def id_prefix(self) -> str: ...

    def prompts(self, body: Body, card: ModelCard, /) -> list[Prompt]: ...

    def opening(self, index: int, /) -> Json | None:
        """The streamed choice that comes before any text, if the format has one."""

    def addition(self, index: int, text: str, tokens: Sequence[Token] | None = None) -> Json:
        """The streamed choice that adds `text`, and the logprobs of `tokens`."""

    def ending(self, index: int, reason: FinalReason) -> Json:
        """The streamed choice that ends the choice."""

    def chunk(self, head: Head, choices: Sequence[Json]) -> Json:
        """One streamed chunk, without `usage`, which goes last."""

    def choice(self, index: int, text: str, reason: FinalReason, tokens: Sequence[Token] | None = None) -> Json:
        """One choice of an answer that is sent whole."""

    def whole(self, head: Head, choices: Sequence[Json], usage: Usage) -> Json: ...
