"""Engines in Triton, over gRPC: which are ready, what they can do, and what they answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Final

import grpc
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from gateway.answers.backend import Delta, Generation
from gateway.triton.cards import Cards
from gateway.triton.stream import TritonStream
from triton_repo.contract.errors import EngineUnavailable, ModelNotFound, RequestError
from triton_repo.contract.model_card import ModelCard

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # Triton is on this machine or its network, whatever the environment says of proxies
    # gRPC's own backoff grows to two minutes: a restarted Triton would long be up and still count as gone.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class TritonBackend:
    """The engines of one Triton server. Created inside the event loop that uses it."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub = GRPCInferenceServiceStub(self._channel)
        self._stream: TritonStream | None = None
        self._cards = Cards(self._stub)

    async def models(self) -> Mapping[str, ModelCard]:
        return await self._cards.all()

    async def card(self, model: str) -> ModelCard:
        return await self._cards.of(model)

    async def ready(self) -> None:
        models = await self.models()
        if not models:
            raise EngineUnavailable("no model is ready")
        if self._stream is not None and all(map(self._stream.is_stalled, models)):
            raise EngineUnavailable(f"no progress: {', '.join(sorted(models))}")

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        stream = self._open_stream()
        inbox = stream.ask(generation)
        try:
            while True:
                delta = await inbox.get()
                if isinstance(delta, RequestError):
                    if isinstance(delta, ModelNotFound | EngineUnavailable):
                        self._cards.expire()
                    raise delta.with_traceback(None)  # requests that fail together share it
                yield delta
                if delta.finish_reason:
                    return
        finally:
            stream.forget(generation)

    async def cancel(self, generation: Generation) -> None:
        self._open_stream().cancel(generation)

    async def close(self) -> None:
        self._cards.close()
        if self._stream is not None:
            await self._stream.close()
        await self._channel.close()

    def _open_stream(self) -> TritonStream:
        if self._stream is None or self._stream.broken:
            self._stream = TritonStream(self._stub)
        return self._stream
