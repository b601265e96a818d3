"""The gRPC connection to Triton, and the key that goes with every call."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any, Final, cast

import grpc
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from triton_repo.contract.api_key import KSERVE_KEY_METADATA
from triton_repo.tracing.steps import TRACEPARENT

_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # Triton is on this machine or its network, so no proxy of the environment applies
    # gRPC's own backoff grows to two minutes: a restarted Triton would long be up and still count as gone.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class TritonConnection:
    """Created inside the event loop that uses it. Its calls are those of gRPC's own stub."""

    def __init__(self, address: str, key: str | None) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        stub: Any = GRPCInferenceServiceStub(self._channel)
        self._metadata = metadata = ((KSERVE_KEY_METADATA, key),) if key else ()
        self.RepositoryIndex = partial(stub.RepositoryIndex, metadata=metadata)
        self.ServerMetadata = partial(stub.ServerMetadata, metadata=metadata)
        self.ModelConfig = partial(stub.ModelConfig, metadata=metadata)
        self.ModelMetadata = partial(stub.ModelMetadata, metadata=metadata)
        self.ModelReady = partial(stub.ModelReady, metadata=metadata)
        self.ModelStatistics = partial(stub.ModelStatistics, metadata=metadata)
        self.ModelInfer = partial(stub.ModelInfer, metadata=metadata)
        self.ModelStreamInfer = partial(stub.ModelStreamInfer, metadata=metadata)

    def infer(self, request: Any, traceparent: str) -> Awaitable[Any]:
        """A call whose spans of Triton's own are below that of the client, if it is traced."""
        traced = ((TRACEPARENT, traceparent),) if traceparent else ()
        return cast("Awaitable[Any]", self.ModelInfer(request, metadata=(*self._metadata, *traced)))

    async def close(self) -> None:
        await self._channel.close()
