"""Triton's wire: requests to the models of an engine, and the deltas in a response, as protobuf messages.

They are built and read directly. tritonclient's own InferInput and InferResult go through numpy object arrays, which
on a stream of small text tensors costs more than everything else here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

from tritonclient.grpc import service_pb2 as pb

from gateway.backend import Chat, Delta, Generation, Prompt
from triton_repo.tensors import (
    CHANNEL,
    CHAT,
    ENSEMBLE_OUTPUTS,
    FINISH_REASON,
    PROMPT_TOKEN_IDS,
    RENEW,
    REQUEST_IDS,
    SAMPLING_PARAMETERS,
    SAMPLING_TENSORS,
    STOP,
    STREAM,
    SUBSCRIBE,
    TEXT_INPUT,
    TEXT_OUTPUT,
    TOKEN_COUNTS,
    Tensor,
    step_model,
)

_OUTPUTS: Final = tuple(
    pb.ModelInferRequest.InferRequestedOutputTensor(name=output.name) for output in ENSEMBLE_OUTPUTS
)
_PACKING: Final = {"INT32": "<i", "UINT64": "<Q", "FP32": "<f", "BOOL": "<?"}
_LENGTH: Final = struct.Struct("<I")  # before each element of a BYTES tensor
_COUNTS: Final = struct.Struct("<3i")


def infer_request(generation: Generation, channel: str) -> Any:
    """The request to the ensemble, as a protobuf ModelInferRequest; its deltas are to come on `channel`."""
    request = pb.ModelInferRequest(model_name=generation.model, id=generation.request_id, outputs=_OUTPUTS)
    _add_prompt(request, generation.prompt)
    _add_input(request, STREAM, 1, struct.pack("<?", generation.stream))
    sampling = generation.sampling
    for tensor in SAMPLING_TENSORS:
        value = getattr(sampling, tensor.name)
        if value is not None:
            value = value % 2**64 if tensor.datatype == "UINT64" else value
            _add_input(request, tensor, 1, struct.pack(_PACKING[tensor.datatype], value))
    for name in SAMPLING_PARAMETERS:
        _set_parameter(request.parameters, name, getattr(sampling, name))
    request.parameters[CHANNEL].string_param = channel
    return request


def subscribe_request(model: str, channel: str) -> Any:
    """The request that opens a channel of the ensemble `model`; a response without outputs is the channel's end."""
    request = pb.ModelInferRequest(model_name=model, id=channel, outputs=_OUTPUTS)
    _add_prompt(request, (0,))  # to the steps of an ensemble every request is one with a prompt
    request.parameters[SUBSCRIBE].bool_param = True
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    return request


def renew_request(model: str, channel: str) -> Any:
    """The request that begins a channel's lease anew.

    Past the ensemble, where it would wait behind prompts, and without an id: its failure is not the channel's.
    """
    request = pb.ModelInferRequest(model_name=step_model(model, "engine"))
    _add_input(request, STOP, 1, struct.pack("<?", False))
    request.parameters[RENEW].string_param = channel
    return request


def stop_request(model: str, request_id: str) -> Any:
    """The request that ends a request, or a channel, of the ensemble `model`."""
    request = pb.ModelInferRequest(model_name=step_model(model, "engine"), id=request_id)
    _add_input(request, STOP, 1, struct.pack("<?", True))
    return request


def read_deltas(response: Any) -> Iterator[tuple[str, Delta]]:
    """The deltas in a protobuf ModelInferResponse, each with the id of its request."""
    raw = {output.name: content for output, content in zip(response.outputs, response.raw_output_contents, strict=True)}
    ids, texts, reasons = (_strings(raw[tensor.name]) for tensor in (REQUEST_IDS, TEXT_OUTPUT, FINISH_REASON))
    counts = _COUNTS.iter_unpack(raw[TOKEN_COUNTS.name])
    for id, text, reason, (prompt, cached, completion) in zip(ids, texts, reasons, counts, strict=True):
        yield id, Delta(text, reason, prompt, cached, completion)  # type: ignore[arg-type]  # it is a FinishReason


def _strings(raw: bytes) -> Iterator[str]:
    """The elements of a BYTES tensor."""
    start, end = 0, len(raw)
    while start < end:
        (length,) = _LENGTH.unpack_from(raw, start)
        start += 4 + length
        yield raw[start - length : start].decode(errors="replace")


def _add_prompt(request: Any, prompt: Prompt) -> None:
    if isinstance(prompt, tuple):
        _add_input(request, PROMPT_TOKEN_IDS, len(prompt), struct.pack(f"<{len(prompt)}i", *prompt))
        return
    tensor, content = (CHAT, prompt.json) if isinstance(prompt, Chat) else (TEXT_INPUT, prompt.encode())
    _add_input(request, tensor, 1, _LENGTH.pack(len(content)) + content)


def _add_input(request: Any, tensor: Tensor, length: int, content: bytes) -> None:
    request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=(1, length))
    request.raw_input_contents.append(content)


def _set_parameter(parameters: Any, name: str, value: Any) -> None:
    """A Triton parameter is a scalar, so a list travels as JSON text; bool comes first, as Python counts it an int."""
    if isinstance(value, bool):
        parameters[name].bool_param = value
    elif isinstance(value, float):
        parameters[name].double_param = value
    elif isinstance(value, tuple):
        parameters[name].string_param = json.dumps(value)
