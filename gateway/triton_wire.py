"""Triton's wire: requests to the models of an engine, and the deltas in a response, as protobuf messages.

They are built and read directly. tritonclient's own InferInput and InferResult go through numpy object arrays, which
on a stream of small text tensors costs more than everything else here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Final

from tritonclient.grpc import service_pb2 as pb

from gateway.backend import Chat, Delta, Generation, Prompt
from triton_repo.errors import EngineFailed, RequestError, from_wire
from triton_repo.tensors import (
    CHANNEL,
    CHAT,
    ENSEMBLE_OUTPUTS,
    FINISH_REASON,
    FINISH_REASONS,
    PROMPT_TOKEN_IDS,
    RENEW,
    REQUEST_IDS,
    ROW_IDS,
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
_SIZES: Final = {datatype: struct.calcsize(packing) for datatype, packing in _PACKING.items()}
_LENGTH: Final = struct.Struct("<I")  # before each element of a BYTES tensor
_COUNTS: Final = struct.Struct("<3i")


def infer_request(generations: Sequence[Generation], channel: str) -> Any:
    """The request to the ensemble, as a protobuf ModelInferRequest; its deltas are to come on `channel`.

    Args:
        generations: its rows, all of one `kind`. It has the request id of the first.
    """
    first = generations[0]
    request = pb.ModelInferRequest(model_name=first.model, id=first.request_id, outputs=_OUTPUTS)
    if len(generations) > 1:
        _add_rows(request, ROW_IDS, [_text(generation.request_id.encode()) for generation in generations])
    _add_rows(request, *_prompts([generation.prompt for generation in generations]))
    _add_rows(request, STREAM, [struct.pack("<?", generation.stream) for generation in generations])
    for tensor in SAMPLING_TENSORS:
        if getattr(first.sampling, tensor.name) is not None:
            values = [_pack(tensor, getattr(generation.sampling, tensor.name)) for generation in generations]
            _add_rows(request, tensor, values)
    for name in SAMPLING_PARAMETERS:
        _set_parameter(request.parameters, name, getattr(first.sampling, name))
    request.parameters[CHANNEL].string_param = channel
    return request


def kind(generation: Generation) -> Hashable:
    """What generations have in common that may be rows of one request: which tensors, how long, which parameters."""
    prompt, sampling = generation.prompt, generation.sampling
    return (
        generation.model,
        len(prompt) if isinstance(prompt, tuple) else type(prompt),
        tuple(getattr(sampling, tensor.name) is None for tensor in SAMPLING_TENSORS),
        tuple(getattr(sampling, name) for name in SAMPLING_PARAMETERS),
    )


def subscribe_request(model: str, channel: str) -> Any:
    """The request that opens a channel of the ensemble `model`; a response without outputs is the channel's end."""
    request = pb.ModelInferRequest(model_name=model, id=channel, outputs=_OUTPUTS)
    _add_rows(request, *_prompts([(0,)]))  # to the steps of an ensemble every request is one with a prompt
    request.parameters[SUBSCRIBE].bool_param = True
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    return request


def renew_request(model: str, channel: str) -> Any:
    """The request that begins a channel's lease anew.

    Past the ensemble, where it would wait behind prompts, and without an id: its failure is not the channel's.
    """
    request = pb.ModelInferRequest(model_name=step_model(model, "engine"))
    _add_rows(request, STOP, [struct.pack("<?", False)])
    request.parameters[RENEW].string_param = channel
    return request


def stop_request(model: str, request_id: str) -> Any:
    """The request that ends a request, or a channel, of the ensemble `model`."""
    request = pb.ModelInferRequest(model_name=step_model(model, "engine"), id=request_id)
    _add_rows(request, STOP, [struct.pack("<?", True)])
    return request


def read_deltas(response: Any) -> Iterator[tuple[str, Delta | RequestError]]:
    """The deltas in a protobuf ModelInferResponse, or what ends a request instead, each with the id of its request."""
    raw = {output.name: content for output, content in zip(response.outputs, response.raw_output_contents, strict=True)}
    ids, texts, reasons = (_strings(raw[tensor.name]) for tensor in (REQUEST_IDS, TEXT_OUTPUT, FINISH_REASON))
    counts = _COUNTS.iter_unpack(raw[TOKEN_COUNTS.name])
    for id, text, reason, (prompt, cached, completion) in zip(ids, texts, reasons, counts, strict=True):
        if reason in FINISH_REASONS:
            yield id, Delta(text, reason, prompt, cached, completion)  # type: ignore[arg-type]
        else:
            yield id, from_wire(reason) or EngineFailed("the engine failed")


def _strings(raw: bytes) -> Iterator[str]:
    """The elements of a BYTES tensor."""
    start, end = 0, len(raw)
    while start < end:
        (length,) = _LENGTH.unpack_from(raw, start)
        start += 4 + length
        yield raw[start - length : start].decode(errors="replace")


def _prompts(prompts: Sequence[Prompt]) -> tuple[Tensor, Sequence[bytes]]:
    """The tensor for prompts of one kind, and its rows."""
    if isinstance(prompts[0], tuple):
        return PROMPT_TOKEN_IDS, [struct.pack(f"<{len(ids)}i", *ids) for ids in prompts if isinstance(ids, tuple)]
    if isinstance(prompts[0], Chat):
        return CHAT, [_text(chat.json) for chat in prompts if isinstance(chat, Chat)]
    return TEXT_INPUT, [_text(text.encode()) for text in prompts if isinstance(text, str)]


def _text(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + content


def _pack(tensor: Tensor, value: Any) -> bytes:
    return struct.pack(_PACKING[tensor.datatype], value % 2**64 if tensor.datatype == "UINT64" else value)


def _add_rows(request: Any, tensor: Tensor, rows: Sequence[bytes]) -> None:
    length = 1 if tensor.datatype == "BYTES" else len(rows[0]) // _SIZES[tensor.datatype]
    request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=(len(rows), length))
    request.raw_input_contents.append(b"".join(rows))


def _set_parameter(parameters: Any, name: str, value: Any) -> None:
    """A Triton parameter is a scalar, so a list travels as JSON text; bool comes first, as Python counts it an int."""
    if isinstance(value, bool):
        parameters[name].bool_param = value
    elif isinstance(value, float):
        parameters[name].double_param = value
    elif isinstance(value, str):
        parameters[name].string_param = value
    elif isinstance(value, tuple):
        parameters[name].string_param = json.dumps(value)
