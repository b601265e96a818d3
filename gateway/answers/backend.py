"""The seam between HTTP and the engines: a few typed values and one protocol, with no word of Triton's wire."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import FinishReason, ModelCard


class Delta(NamedTuple):
    """What an engine adds to one answer. Counts are totals so far; `cached_tokens` < 0 is not reported.

    `tokens` is the JSON of the new tokens' logprobs, if asked for (see `triton_repo.contract.tensors.TEXT_OUTPUT`).
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    tokens: str = ""


@dataclass(frozen=True, slots=True)
class Chat:
    """A prompt that the engine's chat template is to render: the JSON of `triton_repo.contract.tensors.CHAT`."""

    json: bytes


Prompt = Chat | str | tuple[int, ...]


def prompt_bytes(prompt: Prompt) -> int:
    """What it takes on its way to the engine; a token id is 4 bytes."""
    if isinstance(prompt, tuple):
        return 4 * len(prompt)
    return len(prompt.json if isinstance(prompt, Chat) else prompt.encode())


@dataclass(frozen=True, slots=True)
class Generation:
    """One request to one engine. `stream` False asks for the whole answer as one delta."""

    request_id: str
    model: str
    prompt: Prompt
    sampling: Sampling
    stream: bool


class Backend(Protocol):
    """Where answers come from. Every method raises RequestErrors, and nothing else, for what can go wrong."""

    async def models(self) -> Mapping[str, ModelCard]:
        """The engines that can be asked now, by name."""

    async def card(self, model: str) -> ModelCard:
        """The card of one engine.

        Raises:
            ModelNotFound: no engine of this name is ready.
        """

    def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """The answer; its last delta, and only that, has a finish reason. Closing it early stops no engine."""

    async def cancel(self, generation: Generation) -> None:
        """Tell the engine to stop; a generation that has ended, or has not begun, is no error."""

    async def ready(self) -> None:
        """Return if some engine can be asked.

        Raises:
            EngineUnavailable: none can; the message is the reason.
        """

    async def close(self) -> None:
        """End whatever is open: its `generate` raises EngineUnavailable. May be called again."""
