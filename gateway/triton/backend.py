"""Engines in Triton, over gRPC: what there is, what it answers, and what its errors mean."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from gateway.answers.backend import Delta, Generation
from gateway.triton.stream import TritonStream
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, ModelNotFound, RequestError, from_wire
from triton_repo.contract.tensors import CARD_PARAMETER, ModelCard

logger = logging.getLogger(__name__)

_CONTROL_TIMEOUT_S: Final = 3.0
_REFRESH_INTERVAL_S: Final = 1.0
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # Triton is beside the gateway, whatever the environment says of proxies
    # gRPC's own back-off grows to two minutes: a restarted Triton would long be up and still count as gone.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
# What Triton says, in an error message without a code, when the same request may succeed a little later.
_PASSING_TROUBLE: Final = (
    "unknown model",
    "is not ready",
    "no available versions",
    "maximum queue size",
    "Stub process",
)


class TritonBackend:
    """The engines of one Triton server. To be made inside the event loop that uses it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub = GRPCInferenceServiceStub(self._channel)
        self._stream: TritonStream | None = None
        self._cards: dict[str, ModelCard] = {}
        self._refreshed_s = float("-inf")
        self._failure: RequestError | None = None
        self._refreshing = asyncio.Lock()

    async def models(self) -> Mapping[str, ModelCard]:
        await self._refresh()
        return self._cards

    async def card(self, model: str) -> ModelCard:
        if model not in self._cards:
            await self._refresh()
        if model not in self._cards:
            raise ModelNotFound(f"model {model[:200]!r} does not exist or is not ready", "model")
        return self._cards[model]

    async def ready(self) -> None:
        if not await self.models():
            raise EngineUnavailable("no model is ready")

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        stream = self._open_stream()
        inbox = stream.ask(generation)
        try:
            while True:
                delta = await inbox.get()
                if isinstance(delta, RequestError):
                    raise delta.with_traceback(None)  # those who fail together share it
                yield delta
                if delta.finish_reason:
                    return
        finally:
            stream.forget(generation)

    async def cancel(self, generation: Generation) -> None:
        self._open_stream().cancel(generation)

    async def close(self) -> None:
        if self._stream is not None:
            await self._stream.close()
        await self._channel.close()

    def _open_stream(self) -> TritonStream:
        if self._stream is None or self._stream.broken:
            self._stream = TritonStream(self._stub, self._rpc_error, self._error)
        return self._stream

    async def _refresh(self) -> None:
        """Read all cards anew, at most once per interval."""
        async with self._refreshing:
            if time.monotonic() - self._refreshed_s >= _REFRESH_INTERVAL_S:
                self._failure = None
                try:
                    self._cards = await self._read_cards()
                except RequestError as error:
                    self._failure = error  # those who wait for the lock need not each wait for a time-out too
                self._refreshed_s = time.monotonic()
            if self._failure is not None:
                raise self._failure.with_traceback(None)

    async def _read_cards(self) -> dict[str, ModelCard]:
        request = pb.RepositoryIndexRequest(ready=True)
        index = await self._checked(self._stub.RepositoryIndex(request, timeout=_CONTROL_TIMEOUT_S))
        cards = {model.name: await self._read_card(model.name) for model in index.models if model.state == "READY"}
        return {name: card for name, card in cards.items() if card is not None}

    async def _read_card(self, model: str) -> ModelCard | None:
        """The card of an ensemble of ours; None for anything else, the steps of our ensembles included."""
        request = pb.ModelConfigRequest(name=model)
        try:
            response = await self._checked(self._stub.ModelConfig(request, timeout=_CONTROL_TIMEOUT_S))
        except EngineFailed:  # it was unloaded since it was listed
            return None
        if CARD_PARAMETER not in response.config.parameters:
            return None
        try:
            return ModelCard.from_json(response.config.parameters[CARD_PARAMETER].string_value)
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("model %s has a card that cannot be read, built by another version? %s", model, error)
            return None

    async def _checked(self, reply: Awaitable[Any]) -> Any:
        try:
            return await reply
        except grpc.aio.AioRpcError as error:
            raise self._rpc_error(error) from None

    def _rpc_error(self, error: Any) -> RequestError:
        logger.warning("Triton at %s: %s: %r", self._address, error.code(), error.details())
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return EngineUnavailable("the engine cannot be reached")
        return EngineFailed("the engine failed")

    def _error(self, text: str, model: str) -> RequestError:
        """The error that a model of ours raised, or a sentence that shows nothing of Triton's own words."""
        ours = from_wire(text)
        if ours is not None:
            return ours
        logger.error("Triton on model %s: %r", model, text)
        if any(trouble in text for trouble in _PASSING_TROUBLE):
            self._refreshed_s = float("-inf")
            return EngineUnavailable("the engine is not ready")
        return EngineFailed("the engine failed")
