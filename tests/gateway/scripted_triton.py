"""A gRPC server that answers as a test wrote down and keeps what it was asked."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from gateway.answers.backend import Delta, Generation, Prompt, PromptText
from gateway.triton.backend import TritonBackend
from triton_repo.contract.model_card import CARD_PARAMETER
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import RENEW, SUBSCRIBE

HELLO = PromptText("Hello")


class ScriptedTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Streams `responses`, then waits for ever if `hangs`; lists `configs`, a card's text or None by model name."""

    def __init__(self, responses: tuple[Any, ...] = (), configs: dict[str, str | None] | None = None) -> None:
        self.responses = responses
        self.configs = configs or {}
        self.hangs = False
        self.breaks_off = False
        self.is_silent = False  # does not say what it serves
        self.asked: list[Any] = []
        self.num_indexed = 0
        self.say_first: Any = None  # a response to something else
        self.answers_renewals = False
        self.tokens: Any = None  # the answer to a prompt that is only tokenized
        self.refuses_prompts = ""

    async def ModelStreamInfer(self, requests: Any, _: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for request in requests:
            self.asked.append(request)
            renews = RENEW in request.parameters and self.answers_renewals
            if SUBSCRIBE in request.parameters or (request.model_name != "demo" and not renews):
                continue
            if self.say_first is not None:
                yield self.say_first
                self.say_first = None
            for response in self.responses:
                response.infer_response.id = request.id
                yield addressed(response, request.id)
            if self.hangs:
                await asyncio.Event().wait()
            if self.breaks_off:
                return

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request)
        if self.refuses_prompts:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.refuses_prompts)
        return self.tokens

    async def RepositoryIndex(self, _: Any, __: Any) -> Any:  # noqa: N802
        self.num_indexed += 1
        if self.is_silent:
            await asyncio.Event().wait()
        models = [pb.RepositoryIndexResponse.ModelIndex(name=name, state="READY") for name in self.configs]
        return pb.RepositoryIndexResponse(models=models)

    async def ModelConfig(self, request: Any, _: Any) -> Any:  # noqa: N802
        response = pb.ModelConfigResponse()
        card = self.configs[request.name]
        if card is not None:
            response.config.parameters[CARD_PARAMETER].string_value = card
        return response


@asynccontextmanager
async def listening(triton: ScriptedTriton, port: int = 0) -> AsyncIterator[str]:
    """Its address."""
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def connected(triton: ScriptedTriton, states_file: Path | None = None) -> AsyncIterator[TritonBackend]:
    async with listening(triton) as address:
        backend = TritonBackend(address, states_file=states_file)
        try:
            yield backend
        finally:
            await backend.close()


def packed(*values: str) -> bytes:
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def response(text: str, finish_reason: str = "", order: tuple[int, ...] = (0, 1, 2)) -> Any:
    outputs = [
        ("text_output", "BYTES", [1, 1], packed(text)),
        ("finish_reason", "BYTES", [1, 1], packed(finish_reason)),
        ("token_counts", "INT32", [1, 3], struct.pack("<3i", 3, -1, 2)),
    ]
    message = pb.ModelStreamInferResponse()
    for name, datatype, shape, content in (outputs[position] for position in order):
        message.infer_response.outputs.add(name=name, datatype=datatype, shape=shape)
        message.infer_response.raw_output_contents.append(content)
    return message


def addressed(response: Any, *request_ids: str) -> Any:
    """The response with deltas of these requests."""
    message = pb.ModelStreamInferResponse()
    message.CopyFrom(response)
    if message.infer_response.outputs:
        message.infer_response.outputs.add(name="request_ids", datatype="BYTES", shape=[1, len(request_ids)])
        message.infer_response.raw_output_contents.append(packed(*request_ids))
    return message


def tokens(*outputs: tuple[str, str, list[int], bytes]) -> Any:
    """A response with these outputs: name, datatype, shape, content."""
    message = pb.ModelInferResponse()
    for name, datatype, shape, content in outputs:
        message.outputs.add(name=name, datatype=datatype, shape=shape)
        message.raw_output_contents.append(content)
    return message


def failure(text: str) -> Any:
    return pb.ModelStreamInferResponse(error_message=text)


def generation(prompt: Prompt = HELLO, request_id: str = "id-1", **sampling: Any) -> Generation:
    return Generation(request_id, "demo", prompt, Sampling(**sampling), stream=True)


async def read(backend: TritonBackend) -> list[Delta]:
    return [delta async for delta in backend.generate(generation())]
