"""Triton's wire: what requests and deltas are as protobuf messages."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as pb

from gateway.answers.backend import Chat, Delta, Prompt, PromptIds, PromptText
from gateway.triton.responses import MalformedResponse, read_deltas
from gateway.triton.wire import infer_request, pack_row
from tests.gateway.scripted_triton import generation, packed, response
from triton_repo.contract.errors import EngineFailed, InvalidRequest, to_wire
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.steps import ENSEMBLE_INPUTS
from triton_repo.contract.tensors import SAMPLING_PARAMETERS


@pytest.mark.parametrize(
    ("prompt", "name", "shape", "content"),
    [
        (PromptText("é"), "text_input", [1, 1], b"\2\0\0\0\xc3\xa9"),
        (Chat(b"{}"), "chat", [1, 1], b"\2\0\0\0{}"),
        (PromptIds.of([1, 258]), "prompt_token_ids", [1, 2], b"\1\0\0\0\2\1\0\0"),
    ],
)
def test_a_prompt_is_one_tensor_of_its_kind(prompt: Prompt, name: str, shape: list[int], content: bytes) -> None:
    request = infer_request([pack_row(generation(prompt), "channel-1")], "id-1")
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


def test_a_generation_that_keeps_special_tokens_says_so() -> None:
    asked = replace(generation(PromptText("x")), keep_special=True)
    assert infer_request([pack_row(asked, "channel-1")], "id-1").parameters["keep_special"].bool_param
    assert "keep_special" not in infer_request([pack_row(generation(PromptText("x")), "channel-1")], "id-1").parameters


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
        "guided_decoding_guide_type": "regex",
        "guided_decoding_guide": "[ab]",
        "lora_name": "french",
        "logprobs": 3,
        "prompt_logprobs": 2,
        "priority": 0.25,
        "cache_salt": "tenant-7",
        "logit_bias": {"7": -1.5},
    }
    assert values.keys() == Sampling.model_fields.keys()
    request = infer_request([pack_row(generation(**values), "channel-1")], "id-1")
    tensors = {tensor.name: tensor.datatype for tensor in request.inputs}
    assert tensors.items() <= {(tensor.name, tensor.datatype) for tensor in ENSEMBLE_INPUTS}
    assert tensors.keys() | {*SAMPLING_PARAMETERS} == values.keys() | {"text_input", "stream"}
    contents = dict(zip(tensors, request.raw_input_contents, strict=True))
    assert contents["seed"] == b"\xff" * 8
    assert contents["top_k"] == struct.pack("<i", -1)
    assert contents["presence_penalty"] == struct.pack("<f", 1)
    assert contents["priority"] == struct.pack("<f", 0.25)
    parameters = request.parameters
    assert parameters["min_p"].double_param == 0.125
    assert parameters["ignore_eos"].WhichOneof("parameter_choice") == "bool_param"
    assert json.loads(parameters["stop_token_ids"].string_param) == [7, 8]
    assert parameters["guided_decoding_guide"].string_param == "[ab]"
    assert parameters["logprobs"].int64_param == 3
    assert parameters["prompt_logprobs"].int64_param == 2
    assert json.loads(parameters["logit_bias"].string_param) == {"7": -1.5}


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


def test_behind_the_texts_stand_the_tokens_of_deltas_with_logprobs() -> None:
    message = pb.ModelInferResponse()
    for name, datatype, content in (
        ("request_ids", "BYTES", packed("a", "b")),
        ("text_output", "BYTES", packed("A", "B", "", "[1]")),
        ("token_counts", "INT32", struct.pack("<6i", 3, -1, 2, 4, -1, 5)),
        ("finish_reason", "BYTES", packed("", "stop")),
    ):
        message.outputs.add(name=name, datatype=datatype)
        message.raw_output_contents.append(content)
    deltas = dict(read_deltas(message))
    assert deltas == {"a": Delta("A", "", 3, -1, 2), "b": Delta("B", "stop", 4, -1, 5, "[1]")}


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


def test_a_response_that_is_cut_off_is_malformed() -> None:
    message = response("a", "stop").infer_response
    message.outputs.add(name="request_ids", datatype="BYTES", shape=[1, 1])
    message.raw_output_contents.append(packed("id-1")[:-1])
    with pytest.raises(MalformedResponse, match="ends in an element of 4"):
        read_deltas(message)
