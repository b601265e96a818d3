"""A backend that says what a test wrote down: deltas, pauses and errors."""

from __future__ import annotations

import asyncio
import struct
import threading
from array import array
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.answers.backend import (
    Chat,
    Delta,
    Encoded,
    Generation,
    Prompt,
    PromptIds,
    PromptText,
    Texts,
    TokenTexts,
)
from gateway.answers.inference.models import OtherModels
from tests.gateway.echo_models import NoOtherModels
from triton_repo.contract.errors import EngineUnavailable, InvalidRequest, ModelNotFound, RequestError
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.tensors import FinishReason

CARD = ModelCard(max_seq_len=512, runtime="scripted", created=1700000000, chat=True, source="a test")
HANG = object()  # say nothing until cancelled or closed

Step = str | float | Exception | object


def delta(text: str, finish_reason: FinishReason = "", completion_tokens: int = 1, cached_tokens: int = -1) -> Delta:
    return Delta(text, finish_reason, 3, cached_tokens, completion_tokens)


@dataclass
class ScriptedBackend:
    """Each generation plays `script`: a Delta is said, a number of seconds is slept, an exception raised.

    `ends_before_it_is_read`: all of it waits here already, as with an engine that is faster than its reader.
    After HANG a cancelled generation says "cancelled", unless `deaf`; `close` ends every other.
    """

    script: Sequence[Step] = (delta("Hello"), delta(" world", "stop", 2))
    cards: Mapping[str, ModelCard] = field(default_factory=lambda: {"demo": CARD})
    unavailable: str | None = None
    lost: str | None = None
    deaf: bool = False
    ends_before_it_is_read: bool = False
    generations: list[Generation] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)  # that were tokenized
    cancelled: list[str] = field(default_factory=list)
    encoded: list[Texts] = field(default_factory=list)
    closed: bool = False
    others: OtherModels = field(default_factory=NoOtherModels)
    _said_something: threading.Condition = field(default_factory=threading.Condition)
    _stop: dict[str, asyncio.Event] = field(default_factory=dict)
    _errors: dict[str, RequestError] = field(default_factory=dict)

    async def models(self) -> Mapping[str, ModelCard]:
        await self.ready()
        return self.cards

    def known(self) -> Mapping[str, ModelCard]:
        return self.cards

    async def card(self, model: str) -> ModelCard:
        if model not in await self.models():
            raise ModelNotFound(f"model {model!r} does not exist", "model")
        return self.cards[model]

    def check_progress(self, _: str) -> None:
        if self.lost is not None:
            raise EngineUnavailable(self.lost)

    async def is_back(self, _: str) -> None:
        while self.lost is not None:
            await asyncio.sleep(0.01)

    async def encode(self, texts: Texts) -> Encoded:
        """Two numbers for each text: its bytes, and 1."""
        self.encoded.append(texts)
        values = b"".join(struct.pack("<ff", len(first), 1.0) for first in texts.firsts)
        return Encoded(values, len(texts.firsts))

    async def ready(self) -> None:
        if self.unavailable is not None:
            raise EngineUnavailable(self.unavailable)

    async def generate(
        self, generation: Generation, ended: Callable[[], None] = lambda: None, /
    ) -> AsyncGenerator[Delta, None]:
        self.generations.append(generation)
        stop = self._stop[generation.request_id] = asyncio.Event()
        if self.ends_before_it_is_read:
            ended()
        for step in self.script:
            if step is HANG:
                await stop.wait()
                if generation.request_id in self._errors:
                    raise self._errors[generation.request_id]
                if self.closed:
                    raise EngineUnavailable("the server is shutting down")
                yield delta("", "cancelled")
            elif isinstance(step, Exception):
                raise step
            elif isinstance(step, (int, float)):
                await asyncio.sleep(step)
            else:
                assert isinstance(step, Delta)
                if step.finish_reason:
                    ended()
                yield step

    async def tokenize(self, model: str, prompt: Prompt) -> Sequence[int]:
        return (await self.token_texts(model, prompt)).ids

    async def token_texts(self, model: str, prompt: Prompt) -> TokenTexts:
        """A byte is a token."""
        await self.card(model)
        self.prompts.append(prompt)
        match prompt:
            case PromptIds(packed):
                ids = array("i", packed)
                if not all(0 <= id < 256 for id in ids):
                    raise InvalidRequest("token ids must be 0 to 255")
                content = bytes([*ids])
            case PromptText(text):
                content = text.encode()
            case Chat(json):
                content = json
        return TokenTexts([*content], content.decode(errors="replace"), [chr(byte) for byte in content])

    def cancel(self, generation: Generation, error: RequestError | None = None) -> None:
        with self._said_something:
            self.cancelled.append(generation.request_id)
            self._said_something.notify_all()
        if error is not None:
            self._errors[generation.request_id] = error
        if (error or not self.deaf) and generation.request_id in self._stop:
            self._stop[generation.request_id].set()

    async def close(self) -> None:
        self.closed = True
        for stop in self._stop.values():
            stop.set()

    def wait_for_cancels(self, count: int) -> None:
        """Block the calling thread, which is not the server's, until that many cancels have come."""
        with self._said_something:
            assert self._said_something.wait_for(lambda: len(self.cancelled) >= count, timeout=120)
