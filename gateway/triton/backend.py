"""Engines in Triton, over gRPC: which are ready, what they can do, and what they answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2 as pb

from gateway.answers.backend import Delta, Encoded, EngineLost, Generation, Prompt, Texts, TokenTexts
from gateway.answers.byte_budget import ByteBudget
from gateway.triton.connection import TritonConnection
from gateway.triton.encodings import Encodings
from gateway.triton.engine_states import INTERVAL_S, EngineStatesFile
from gateway.triton.errors import model_not_found, rpc_error
from gateway.triton.other_models import TritonModels
from gateway.triton.stream import TritonStream
from gateway.triton.tokenizer import Tokenizer
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, ModelNotFound, RequestError, SendAlone
from triton_repo.contract.health.engine_states import LOADING
from triton_repo.contract.model_card import CARD_PARAMETER, ModelCard

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 3.0
_READY_S: Final = 1.0  # Triton answers within milliseconds
_MIN_INTERVAL_S: Final = 1.0  # cards are read at most so often, however many requests name models that are not there
_MAX_WAITING_BYTES: Final = 32 * 2**20
_NOTICED_S: Final = 1.0  # after which those who watch the engines have found one that was lost
_POLL_S: Final = 0.1
_FRESH_S: Final = 10.0  # older cards are read again, while requests go on with them


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
        return {model: card for model, card in cards.items() if model not in absent} if absent else cards

    async def card(self, model: str) -> ModelCard:
        if (state := self._states.absent.get(model)) is not None:
            raise EngineUnavailable("the model is being loaded") if state == LOADING else model_not_found(model)
        try:
            return await self._cards.of(model)
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


class Cards:
    """Cards by the name of their engine. Everything raises RequestErrors, and nothing else, for what can go wrong."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self._cards: dict[str, ModelCard] = {}
        self._read_s = float("-inf")  # when
        self._failure: RequestError | None = None
        self._reading = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None

    async def all(self) -> Mapping[str, ModelCard]:
        await self._refresh()
        return self._cards

    @property
    def known(self) -> Mapping[str, ModelCard]:
        return self._cards

    async def of(self, model: str) -> ModelCard:
        """Raises ModelNotFound if no engine of this name is ready."""
        card = self._cards.get(model)
        if card is None:
            await self._refresh()
            if model not in self._cards:
                raise model_not_found(model)
            return self._cards[model]
        if self._age_s > _FRESH_S and (self._background is None or self._background.done()):
            self._background = asyncio.create_task(self._refresh_in_background())
        return card

    def expire(self) -> None:
        """A model was unloaded or does not answer: the next request reads all cards first."""
        if self._age_s >= _MIN_INTERVAL_S:
            self._cards = {}

    def forget(self) -> None:
        """Triton does not answer any more: whatever is asked next finds that out first."""
        self._cards = {}
        self._read_s = float("-inf")

    def close(self) -> None:
        if self._background is not None:
            self._background.cancel()

    @property
    def _age_s(self) -> float:
        return time.monotonic() - self._read_s

    async def _refresh_in_background(self) -> None:
        with suppress(RequestError):  # it has been logged; the next request that fails expires the cards
            await self._refresh()

    async def _refresh(self) -> None:
        async with self._reading:
            if self._age_s >= _MIN_INTERVAL_S:
                self._failure = None
                try:
                    self._cards = await self._read_all()
                except RequestError as error:
                    self._failure = error  # requests that wait for the lock need not each wait for a timeout too
                self._read_s = time.monotonic()
            if self._failure is not None:
                raise self._failure.with_traceback(None)

    async def _read_all(self) -> dict[str, ModelCard]:
        index = await _checked(self._stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True), timeout=_TIMEOUT_S))
        cards = {model.name: await self._read(model.name) for model in index.models if model.state == "READY"}
        return {name: card for name, card in cards.items() if card is not None}

    async def _read(self, model: str) -> ModelCard | None:
        """The card of an ensemble of ours; None for anything else, the steps of our ensembles included."""
        try:
            response = await _checked(self._stub.ModelConfig(pb.ModelConfigRequest(name=model), timeout=_TIMEOUT_S))
        except EngineFailed:  # it was unloaded since it was listed
            return None
        if CARD_PARAMETER not in response.config.parameters:
            return None
        try:
            return ModelCard.from_json(response.config.parameters[CARD_PARAMETER].string_value)
        except ValueError as error:
            logger.warning("model %s has a card that cannot be read, built by another version? %s", model, error)
            return None


async def _checked(reply: Awaitable[Any]) -> Any:
    try:
        return await reply
    except grpc.aio.AioRpcError as error:
        raise rpc_error(error) from None
