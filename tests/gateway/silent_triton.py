"""A Triton that lists one engine and never says a word: whoever asks it waits until somebody gives up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from tests.gateway.scripted_backend import CARD
from triton_repo.contract.model_card import CARD_PARAMETER


class _SilentTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def ModelStreamInfer(self, _: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait()
        return iter(())

    def RepositoryIndex(self, _: Any, __: Any) -> Any:  # noqa: N802
        return pb.RepositoryIndexResponse(models=[pb.RepositoryIndexResponse.ModelIndex(name="demo", state="READY")])

    def ModelConfig(self, _: Any, __: Any) -> Any:  # noqa: N802
        response = pb.ModelConfigResponse()
        response.config.parameters[CARD_PARAMETER].string_value = CARD.to_json()
        return response


@contextmanager
def silent_triton() -> Iterator[str]:
    """Its address, HOST:PORT."""
    server = grpc.server(ThreadPoolExecutor(16))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_SilentTriton(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
