"""Triton's wire, against a gRPC server that answers as a test wrote down and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from gateway.backend import Chat, Delta, Generation, Prompt
from gateway.triton import TritonBackend, infer_request
from tests.gateway.scripted_backend import CARD
from triton_repo.errors import EngineFailed, EngineUnavailable, InvalidRequest, ModelNotFound, to_wire
from triton_repo.sampling import Sampling
from triton_repo.tensors import CARD_PARAMETER, ENSEMBLE_INPUTS, SAMPLING_PARAMETERS


class ScriptedTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Streams `responses`, then waits for ever if `hangs`; lists `configs`, a card's text or None by model name."""

    def __init__(self, responses: tuple[Any, ...] = (), configs: dict[str, str | None] | None = None) -> None:
        self.responses = responses
        self.configs = configs or {}
        self.hangs = False
        self.breaks_off = False
        self.asked: list[Any] = []
        self.num_indexed = 0

    async def ModelStreamInfer(self, requests: Any, _: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for request in requests:
            self.asked.append(request)
            for response in self.responses:
                response.infer_response.id = request.id
                yield response
            if self.hangs:
                await asyncio.Event().wait()
            if self.breaks_off:
                return

    async def RepositoryIndex(self, _: Any, __: Any) -> Any:  # noqa: N802
        self.num_indexed += 1
        models = [pb.RepositoryIndexResponse.ModelIndex(name=name, state="READY") for name in self.configs]
        return pb.RepositoryIndexResponse(models=models)

    async def ModelConfig(self, request: Any, _: Any) -> Any:  # noqa: N802
        response = pb.ModelConfigResponse()
        card = self.configs[request.name]
        if card is not None:
            response.config.parameters[CARD_PARAMETER].string_value = card
        return response


@asynccontextmanager
async def connected(triton: ScriptedTriton) -> AsyncIterator[TritonBackend]:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    backend = TritonBackend(f"127.0.0.1:{port}")
    try:
        yield backend
    finally:
        await backend.close()
        await server.stop(None)


def response(text: str, finish_reason: str = "", order: tuple[int, ...] = (0, 1, 2)) -> Any:
    def packed(value: str) -> bytes:
        return struct.pack("<I", len(value.encode())) + value.encode()

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


def failure(text: str) -> Any:
    return pb.ModelStreamInferResponse(error_message=text)


def generation(prompt: Prompt = "Hello", request_id: str = "id-1", **sampling: Any) -> Generation:
    return Generation(request_id, "demo", prompt, Sampling(**sampling), stream=True)


async def read(backend: TritonBackend) -> list[Delta]:
    return [delta async for delta in backend.generate(generation())]


@pytest.mark.parametrize(
    ("prompt", "name", "shape", "content"),
    [
        ("é", "text_input", [1, 1], b"\2\0\0\0\xc3\xa9"),
        (Chat(b"{}"), "chat", [1, 1], b"\2\0\0\0{}"),
        ((1, 258), "prompt_token_ids", [1, 2], b"\1\0\0\0\2\1\0\0"),
    ],
)
def test_a_prompt_is_one_tensor_of_its_kind(prompt: Prompt, name: str, shape: list[int], content: bytes) -> None:
    request = infer_request(generation(prompt))
    assert [tensor.name for tensor in request.inputs] == [name, "stream"]
    assert list(request.inputs[0].shape) == shape
    assert list(request.raw_input_contents) == [content, b"\1"]
    assert (request.model_name, request.id) == ("demo", "id-1")
    assert [output.name for output in request.outputs] == ["text_output", "finish_reason", "token_counts"]


def test_every_sampling_field_reaches_the_engine() -> None:
    values: dict[str, Any] = {
        "max_tokens": 5,
        "min_tokens": 1,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": -1,
        "min_p": 0.125,
        "seed": -1,
        "frequency_penalty": -1.0,
        "presence_penalty": 1,
        "repetition_penalty": 1.5,
        "ignore_eos": False,
        "stop_token_ids": [7, 8],
    }
    assert values.keys() == Sampling.model_fields.keys()
    request = infer_request(generation(**values))
    tensors = {tensor.name: tensor.datatype for tensor in request.inputs}
    assert tensors.items() <= {(tensor.name, tensor.datatype) for tensor in ENSEMBLE_INPUTS}
    assert tensors.keys() | {*SAMPLING_PARAMETERS} == values.keys() | {"text_input", "stream"}
    contents = dict(zip(tensors, request.raw_input_contents, strict=True))
    assert contents["seed"] == b"\xff" * 8
    assert contents["top_k"] == struct.pack("<i", -1)
    assert contents["presence_penalty"] == struct.pack("<f", 1)
    parameters = request.parameters
    assert parameters["min_p"].double_param == 0.125
    assert parameters["ignore_eos"].WhichOneof("parameter_choice") == "bool_param"
    assert json.loads(parameters["stop_token_ids"].string_param) == [7, 8]


@pytest.mark.asyncio
async def test_deltas_are_read_whatever_the_order_of_the_outputs() -> None:
    triton = ScriptedTriton((response("Hé"), response("", "length", order=(2, 0, 1))))
    async with connected(triton) as backend:
        assert await read(backend) == [Delta("Hé", "", 3, -1, 2), Delta("", "length", 3, -1, 2)]


@pytest.mark.asyncio
async def test_an_error_of_ours_comes_out_as_it_went_in() -> None:
    text = f"in ensemble 'demo', {to_wire(InvalidRequest('too hot', 'temperature'))}"
    async with connected(ScriptedTriton((failure(text),))) as backend:
        with pytest.raises(InvalidRequest, match=r"^too hot$") as caught:
            await read(backend)
    assert caught.value.param == "temperature"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("in ensemble 'demo', Failed to open shm region triton_python_backend_shm_region_1", EngineFailed),
        ("Request for unknown model: 'demo' is not found", EngineUnavailable),
        ("in ensemble 'demo', Exceeds maximum queue size", EngineUnavailable),
    ],
)
async def test_tritons_own_words_stay_inside(text: str, kind: type[Exception]) -> None:
    async with connected(ScriptedTriton((response("a"), failure(text)))) as backend:
        with pytest.raises(kind, match=r"^the engine (failed|is not ready)$"):
            await read(backend)


@pytest.mark.asyncio
async def test_a_stream_that_breaks_off_is_an_error() -> None:
    triton = ScriptedTriton((response("a"),))
    triton.breaks_off = True
    async with connected(triton) as backend:
        for _ in range(2):  # the next request opens a new stream
            with pytest.raises(EngineUnavailable, match="broke off"):
                await read(backend)


@pytest.mark.asyncio
async def test_a_reader_who_takes_his_time_holds_nobody_up_and_each_gets_his_own() -> None:
    async with connected(ScriptedTriton((response("a"), response("b", "stop")))) as backend:
        slow = backend.generate(generation(request_id="slow"))
        assert (await anext(slow)).text == "a"
        fast = [delta.text async for delta in backend.generate(generation(request_id="fast"))]
        assert fast == ["a", "b"]
        assert [delta.text async for delta in slow] == ["b"]


@pytest.mark.asyncio
async def test_closing_the_backend_ends_a_stream_that_waits() -> None:
    triton = ScriptedTriton((response("a"),))
    triton.hangs = True
    async with connected(triton) as backend:
        deltas = backend.generate(generation())
        assert (await anext(deltas)).text == "a"
        waiting = asyncio.ensure_future(anext(deltas))
        await asyncio.sleep(0)
        await backend.close()
        with pytest.raises(EngineUnavailable, match="shutting down"):
            await waiting


@pytest.mark.asyncio
async def test_a_cancel_goes_to_the_engine_step_with_the_id_of_the_request() -> None:
    triton = ScriptedTriton()
    async with connected(triton) as backend:
        await backend.cancel(generation())
        while not triton.asked:
            await asyncio.sleep(0.01)
    (request,) = triton.asked
    assert (request.model_name, request.id) == ("demo_engine", "id-1")
    assert ([tensor.name for tensor in request.inputs], list(request.raw_input_contents)) == (["stop"], [b"\1"])
    assert not request.parameters, "no empty final response: nobody waits for one"


@pytest.mark.asyncio
async def test_only_ensembles_with_a_card_are_models() -> None:
    triton = ScriptedTriton(configs={"demo": CARD.to_json(), "demo_engine": None, "older": "{}", "broken": "{"})
    async with connected(triton) as backend:
        assert await backend.models() == {"demo": CARD}
        await backend.ready()


@pytest.mark.asyncio
async def test_unknown_names_do_not_flood_triton_with_questions() -> None:
    triton = ScriptedTriton(configs={"demo": CARD.to_json()})
    async with connected(triton) as backend:
        for number in range(20):
            with pytest.raises(ModelNotFound):
                await backend.card(f"other{number}")
        assert await backend.card("demo") == CARD
    assert triton.num_indexed == 1


@pytest.mark.asyncio
async def test_a_triton_without_models_is_not_ready() -> None:
    async with connected(ScriptedTriton()) as backend:
        with pytest.raises(EngineUnavailable, match="no model is ready"):
            await backend.ready()


@pytest.mark.asyncio
async def test_a_triton_that_is_not_there_is_unavailable() -> None:
    backend = TritonBackend("127.0.0.1:1")
    try:
        await backend.cancel(generation())
        for attempt in (backend.ready(), read(backend)):
            with pytest.raises(EngineUnavailable, match="cannot be reached"):
                await attempt
    finally:
        await backend.close()
