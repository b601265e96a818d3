"""Engines in Triton, over gRPC: which are ready, what they can do, and what they answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.answers.backend import Delta, Encoded, EngineLost, Generation, Prompt, Texts, TokenTexts
from gateway.answers.byte_budget import ByteBudget
from gateway.triton.adapted_cards import AdaptedCards
from gateway.triton.cards import Cards
from gateway.triton.connection import TritonConnection
from gateway.triton.encodings import Encodings
from gateway.triton.engine_states import INTERVAL_S, EngineStatesFile
from gateway.triton.errors import model_not_found
from gateway.triton.other_models import TritonModels
from gateway.triton.stream import TritonStream
from gateway.triton.tokenizer import Tokenizer
from triton_repo.contract.errors import EngineUnavailable, ModelNotFound, RequestError, SendAlone
from triton_repo.contract.health.engine_states import LOADING
from triton_repo.contract.model_card import ModelCard

_READY_S: Final = 1.0  # Triton answers within milliseconds
_MAX_WAITING_BYTES: Final = 32 * 2**20
_NOTICED_S: Final = 1.0  # after which those who watch the engines have found one that was lost
_POLL_S: Final = 0.1


class TritonBackend:
    """The engines of one Triton server. Created inside the event loop that uses it."""

    def __init__(
        self,
        address: str,
        key: str | None = None,
        max_waiting_bytes: int = _MAX_WAITING_BYTES,
        states_file: Path | None = None,
    ) -> None:
        self._connection = TritonConnection(address, key)
        self._states = EngineStatesFile(states_file)
        self._watching: asyncio.Task[None] | None = None
        self._prompts = ByteBudget(max_waiting_bytes)
        self._stream: TritonStream | None = None
        self._cards = Cards(self._connection)
        self._adapted = AdaptedCards()
        self._tokenizer = Tokenizer(self._connection)
        self._encodings = Encodings(self._connection)
        self.others = TritonModels(self._connection)

    async def models(self) -> Mapping[str, ModelCard]:
        if self._states.has_changed():
            self._cards.forget()
        return self._wanted(await self._cards.all())

    def known(self) -> Mapping[str, ModelCard]:
        if self._states.has_changed():
            self._cards.forget()
        return self._wanted(self._cards.known)

    def _wanted(self, cards: Mapping[str, ModelCard]) -> Mapping[str, ModelCard]:
        """Those of engines that get requests: one that is being unloaded still has its card."""
        absent = self._states.absent
        cards = self._adapted.cards(cards, self._states.adapters)
        return {model: card for model, card in cards.items() if model not in absent} if absent else cards

    async def card(self, model: str) -> ModelCard:
        if (state := self._states.absent.get(model)) is not None:
            raise EngineUnavailable("the model is being loaded") if state == LOADING else model_not_found(model)
        try:
            card = await self._cards.of(model)
            return self._adapted.cards(self._cards.known, self._states.adapters).get(model, card)
        except ModelNotFound:
            if self._states.was_lost(model):  # it is on its way back, or has been for less than the age of the cards
                raise EngineUnavailable(self._states.stall(model) or "the engine is not ready") from None
            raise

    async def ready(self) -> None:
        reading = asyncio.ensure_future(self.models())
        reading.add_done_callback(lambda task: task.cancelled() or task.exception())  # may come too late to be raised
        done, _ = await asyncio.wait({reading}, timeout=_READY_S)
        if not done:
            raise EngineUnavailable("Triton does not respond")
        models = reading.result()
        if not models:
            raise EngineUnavailable("no model is ready")
        stalls = [self._stall(model) for model in sorted(models)]
        if None not in stalls:
            raise EngineUnavailable("; ".join(filter(None, stalls)))

    def check_progress(self, model: str) -> None:
        if stall := self._states.stall(model):
            raise EngineLost(stall)

    async def is_back(self, model: str) -> None:
        await asyncio.sleep(_NOTICED_S)
        while True:
            if model in self._states.absent:
                return  # it does not come back by itself; to ask it again tells so
            with suppress(RequestError):
                self.check_progress(model)
                await self._cards.of(model)
                return
            await asyncio.sleep(_POLL_S)

    def _stall(self, model: str) -> str | None:
        """Why an engine makes no progress; None if it does."""
        if self._stream is not None and self._stream.is_stalled(model):
            return f"no progress: {model}"
        return self._states.stall(model)

    async def generate(
        self, generation: Generation, ended: Callable[[], None] = lambda: None, /
    ) -> AsyncGenerator[Delta, None]:
        self.check_progress(generation.model)
        stream = self._open_stream()
        try:
            with self._prompts.share() as share:  # until the engine has begun
                share.set(generation.prompt.num_bytes)
                inbox = stream.ask(generation, ended)
                delta = await inbox.next()
                if isinstance(delta, SendAlone):
                    inbox = stream.ask(generation, ended, alone=True)
                    delta = await inbox.next()
            while True:
                if isinstance(delta, RequestError):
                    if isinstance(delta, ModelNotFound):
                        self._cards.expire()
                    raise delta.with_traceback(None)  # requests that fail together share it
                yield delta
                if delta.finish_reason:
                    return
                delta = await inbox.next()
        finally:
            stream.forget(generation)

    async def tokenize(self, model: str, prompt: Prompt) -> Sequence[int]:
        return (await self._tokens(model, prompt, texts=False)).ids

    async def token_texts(self, model: str, prompt: Prompt) -> TokenTexts:
        return await self._tokens(model, prompt, texts=True)

    async def _tokens(self, model: str, prompt: Prompt, *, texts: bool) -> TokenTexts:
        self.check_progress(model)
        with self._prompts.share() as share:
            share.set(prompt.num_bytes)
            try:
                return await self._tokenizer.tokens(model, prompt, texts=texts)
            except ModelNotFound:
                self._cards.expire()
                raise

    def cancel(self, generation: Generation, error: RequestError | None = None) -> None:
        self._open_stream().cancel(generation, error)

    async def encode(self, texts: Texts) -> Encoded:
        self.check_progress(texts.model)
        self._begin_watching()
        try:
            return await self._encodings.encode(texts)
        except (ModelNotFound, EngineUnavailable):
            self._cards.expire()  # Triton may have been started again, with other engines
            raise

    def lose_requests(self) -> None:
        """Triton says nothing any more: end what it has with EngineLost."""
        if self._stream is not None:
            self._stream.lose_all()
        self._encodings.lose_all()

    async def close(self) -> None:
        self._cards.close()
        if self._watching is not None:
            self._watching.cancel()
        if self._stream is not None:
            await self._stream.close()
        await self._connection.close()

    def _open_stream(self) -> TritonStream:
        if self._stream is None or self._stream.broken:
            self._stream = TritonStream(self._connection)
            self._stream.when_broken(self._cards.forget)  # Triton may be started again, with other engines
            self._begin_watching()
        return self._stream

    def _begin_watching(self) -> None:
        if self._watching is None:
            self._states.newly_lost()  # before the first request: they are no loss of its
            self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """End the requests of an engine that was lost while Triton goes on: it says nothing to them."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            for model in self._states.newly_lost():
                if self._stream is not None:
                    self._stream.lose(model)
                self._encodings.lose(model)
                self._cards.expire()
