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
from gateway.triton import TritonBackend
from gateway.triton_wire import infer_request, read_deltas
from tests.gateway.scripted_backend import CARD
from triton_repo.errors import EngineFailed, EngineUnavailable, InvalidRequest, ModelNotFound, to_wire
from triton_repo.sampling import Sampling
from triton_repo.tensors import CARD_PARAMETER, ENSEMBLE_INPUTS, RENEW, SAMPLING_PARAMETERS, SUBSCRIBE


class ScriptedTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Streams `responses`, then waits for ever if `hangs`; lists `configs`, a card's text or None by model name."""

    def __init__(self, responses: tuple[Any, ...] = (), configs: dict[str, str | None] | None = None) -> None:
        self.responses = responses
        self.configs = configs or {}
        self.hangs = False
        self.breaks_off = False
        self.asked: list[Any] = []
        self.num_indexed = 0
        self.say_first: Any = None  # a response to something else
        self.answers_renewals = False

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
    request = infer_request([generation(prompt)], "channel-1")
    assert [tensor.name for tensor in request.inputs] == [name, "stream"]
    assert list(request.inputs[0].shape) == shape
    assert list(request.raw_input_contents) == [content, b"\1"]
    assert (request.model_name, request.id) == ("demo", "id-1")
    assert [output.name for output in request.outputs] == [
        "text_output",
        "finish_reason",
        "token_counts",
        "request_ids",
    ]
    assert request.parameters["channel"].string_param == "channel-1"


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
    request = infer_request([generation(**values)], "channel-1")
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


def test_one_message_may_bring_deltas_of_several_requests() -> None:
    message = pb.ModelInferResponse()
    for name, datatype, shape, content in (
        ("request_ids", "BYTES", [1, 3], packed("a", "b", "c")),
        ("text_output", "BYTES", [1, 3], packed("Hé", "", "🐚")),
        ("token_counts", "INT32", [1, 9], struct.pack("<9i", 3, -1, 2, 4, -1, 5, 6, 2, 7)),
        ("finish_reason", "BYTES", [1, 3], packed("", "stop", "")),
    ):
        message.outputs.add(name=name, datatype=datatype, shape=shape)
        message.raw_output_contents.append(content)
    assert list(read_deltas(message)) == [
        ("a", Delta("Hé", "", 3, -1, 2)),
        ("b", Delta("", "stop", 4, -1, 5)),
        ("c", Delta("🐚", "", 6, 2, 7)),
    ]


def test_the_error_of_one_row_comes_out_as_it_went_in_and_another_word_is_not_shown() -> None:
    message = pb.ModelInferResponse()
    for name, datatype, content in (
        ("request_ids", "BYTES", packed("a", "b")),
        ("text_output", "BYTES", packed("", "")),
        ("token_counts", "INT32", struct.pack("<6i", 0, -1, 0, 0, -1, 0)),
        ("finish_reason", "BYTES", packed(to_wire(InvalidRequest("too hot", "temperature")), "/secret/path")),
    ):
        message.outputs.add(name=name, datatype=datatype)
        message.raw_output_contents.append(content)
    (_, ours), (_, other) = read_deltas(message)
    assert isinstance(ours, InvalidRequest)
    assert (ours.message, ours.param) == ("too hot", "temperature")
    assert isinstance(other, EngineFailed)
    assert "secret" not in str(other)


@pytest.mark.asyncio
async def test_requests_that_wait_together_are_rows_of_one_message_and_fail_together() -> None:
    triton = ScriptedTriton((failure("Stub process is not healthy"),))
    async with connected(triton) as backend:
        asked = [backend.generate(generation(request_id=name)) for name in ("a", "b", "c")]
        answers = await asyncio.gather(*map(anext, asked), return_exceptions=True)
        subscription, request = triton.asked
    assert SUBSCRIBE in subscription.parameters
    assert [list(tensor.shape) for tensor in request.inputs] == [[3, 1], [3, 1], [3, 1]]
    assert [type(answer) for answer in answers] == [EngineUnavailable] * 3


@pytest.mark.asyncio
async def test_requests_ride_on_one_channel_that_is_opened_first_and_ended_last() -> None:
    triton = ScriptedTriton((response("a", "stop"),))
    async with connected(triton) as backend:
        for _ in range(2):
            await read(backend)
    subscription, first, second, end = triton.asked
    assert subscription.parameters["subscribe"].bool_param
    assert {request.parameters["channel"].string_param for request in (first, second)} == {subscription.id}
    assert (end.model_name, end.id, [tensor.name for tensor in end.inputs]) == (
        "demo_engine",
        subscription.id,
        ["stop"],
    )


@pytest.mark.asyncio
async def test_a_channel_that_fails_fails_who_waits_on_it_and_the_next_request_opens_another() -> None:
    triton = ScriptedTriton((response("a"),))
    async with connected(triton) as backend:
        deltas = backend.generate(generation(request_id="rider"))
        await anext(deltas)
        channel = triton.asked[0].id
        triton.responses = ()
        triton.say_first = failure("in ensemble 'demo', boom")
        triton.say_first.infer_response.id = channel
        other = asyncio.ensure_future(read(backend))
        with pytest.raises(EngineUnavailable, match="channel broke off"):
            await anext(deltas)
        with pytest.raises(EngineUnavailable, match="channel broke off"):
            await other
        triton.responses = (response("b", "stop"),)
        assert [delta.text for delta in await read(backend)] == ["b"]
    assert len([request for request in triton.asked if SUBSCRIBE in request.parameters]) == 2


@pytest.mark.asyncio
async def test_after_the_end_of_its_channel_the_next_request_opens_another() -> None:
    triton = ScriptedTriton((response("a", "stop"),))
    async with connected(triton) as backend:
        await read(backend)
        triton.say_first = pb.ModelStreamInferResponse()
        triton.say_first.infer_response.id = triton.asked[0].id
        await read(backend)
        await read(backend)
    names = [request.id for request in triton.asked if SUBSCRIBE in request.parameters]
    assert len(set(names)) == 2


@pytest.mark.asyncio
async def test_a_channel_in_use_is_renewed_past_the_ensemble_and_a_failed_renewal_is_no_end() -> None:
    triton = ScriptedTriton((response("a"),))
    async with connected(triton) as backend:
        deltas = backend.generate(generation())
        await anext(deltas)
        triton.responses = (failure("the model is being unloaded"),)
        triton.answers_renewals = True
        while RENEW not in triton.asked[-1].parameters:
            await asyncio.sleep(0.05)
        waiting = asyncio.ensure_future(anext(deltas))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        renewal = triton.asked[-1]
        await backend.close()
        with pytest.raises(EngineUnavailable):
            await waiting
    assert (renewal.model_name, renewal.id) == ("demo_engine", "")
    assert renewal.parameters["renew"].string_param == triton.asked[0].id


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
