"""Triton's wire: requests to the models of an engine, as protobuf messages; `responses` reads what they answer.

They are built directly. tritonclient's own InferInput and InferResult go through numpy object arrays, which
on a stream of small text tensors costs more than everything else here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tritonclient.grpc import service_pb2 as pb

from gateway.answers.backend import Chat, Generation, Prompt, PromptIds, PromptText
from triton_repo.contract.steps import ENSEMBLE_OUTPUTS, step_model
from triton_repo.contract.tensors import (
    ADD_SPECIAL_TOKENS,
    CHANNEL,
    CHAT,
    CLIP_MAX_TOKENS,
    ECHO,
    INPUT_IDS,
    KEEP_SPECIAL,
    MAX_ROWS,
    PROMPT_TOKEN_IDS,
    RENEW,
    ROW_IDS,
    SAMPLING_PARAMETERS,
    SAMPLING_TENSORS,
    STOP,
    STREAM,
    SUBSCRIBE,
    TEXT_INPUT,
    TOKEN_IDS,
    TOKEN_LENGTHS,
    TOKEN_TEXTS,
    TOKENIZE,
    TRUNCATE_PROMPT_TOKENS,
    Tensor,
)
from triton_repo.tracing.steps import TRACEPARENT

_OUTPUTS: Final = tuple(
    pb.ModelInferRequest.InferRequestedOutputTensor(name=output.name) for output in ENSEMBLE_OUTPUTS
)
_PACKING: Final = {"INT32": "<i", "UINT64": "<Q", "FP32": "<f", "BOOL": "<?"}
_SIZES: Final = {datatype: struct.calcsize(packing) for datatype, packing in _PACKING.items()}
_SHORT_TEXT_BITS: Final = 12  # 4 kB
_LENGTH: Final = struct.Struct("<I")  # before each element of a BYTES tensor


@dataclass(frozen=True, slots=True)
class Row:
    """A generation packed for the wire: its value of each tensor and of each request parameter that it sets."""

    request_id: str
    model: str
    tensors: tuple[tuple[Tensor, bytes], ...]
    parameters: tuple[tuple[str, bool | float | str], ...]
    alone: bool = False

    @property
    def kind(self) -> Hashable:
        """What rows of one request have in common; a row that is to be alone has it with none."""
        sizes = tuple((one.name, _size_class(one, value)) for one, value in self.tensors)
        return self.model, self.parameters, sizes, self.request_id if self.alone else None


def pack_row(generation: Generation, channel: str, *, alone: bool = False) -> Row:
    """The generation as a row whose deltas are sent on `channel`."""
    sampling, prompt = generation.sampling, generation.prompt
    tensors = [_prompt(prompt), (STREAM, struct.pack("<?", generation.stream))]
    for tensor in SAMPLING_TENSORS:
        value = getattr(sampling, tensor.name)
        if value is not None:
            value = value % 2**64 if tensor.datatype == "UINT64" else value
            tensors.append((tensor, struct.pack(_PACKING[tensor.datatype], value)))
    given = [(name, getattr(sampling, name)) for name in SAMPLING_PARAMETERS]
    parameters = [(name, _parameter(value)) for name, value in given if value is not None]
    if generation.token_lengths:
        parameters.append((TOKEN_LENGTHS, True))
    if generation.token_ids:
        parameters.append((TOKEN_IDS, True))
    if generation.echo:
        parameters.append((ECHO, generation.echo))
    if generation.num_last is not None:
        parameters.append((TRUNCATE_PROMPT_TOKENS, generation.num_last))
    if generation.keep_special:
        parameters.append((KEEP_SPECIAL, True))
    if generation.clip_max_tokens:
        parameters.append((CLIP_MAX_TOKENS, True))
    if generation.traceparent:  # no two have the same, so it travels alone
        parameters.append((TRACEPARENT, generation.traceparent))
    parameters += [*_prompt_parameters(prompt), (CHANNEL, channel)]
    return Row(generation.request_id, generation.model, tuple(tensors), tuple(parameters), alone)


def batches(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    """The same rows, those of a kind together, as few requests: one costs its ensemble as much as a short answer."""
    alike: dict[Hashable, list[Row]] = {}
    for row in rows:
        alike.setdefault(row.kind, []).append(row)
    for group in alike.values():
        for start in range(0, len(group), MAX_ROWS):
            yield group[start : start + MAX_ROWS]


def infer_request(rows: Sequence[Row], id: str) -> Any:
    """The request to the ensemble, as a protobuf ModelInferRequest, with rows of one kind."""
    first = rows[0]
    request = pb.ModelInferRequest(model_name=first.model, id=id, outputs=_OUTPUTS)
    if len(rows) > 1:
        _add_input(request, ROW_IDS, [_text(row.request_id.encode()) for row in rows])
    for column in zip(*(row.tensors for row in rows), strict=True):
        _add_input(request, column[0][0], [content for _, content in column])
    for name, value in first.parameters:
        _set_parameter(request.parameters, name, value)
    return request


def subscribe_request(model: str, channel: str) -> Any:
    """The request that opens a channel of the ensemble `model`; a response without outputs is the channel's end."""
    request = pb.ModelInferRequest(model_name=model, id=channel, outputs=_OUTPUTS)
    tensor, content = _prompt(PromptIds.of([0]))  # to the steps of an ensemble every request is one with a prompt
    _add_input(request, tensor, [content])
    request.parameters[SUBSCRIBE].bool_param = True
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    return request


def renew_request(model: str, channel: str, id: str) -> Any:
    """The request that renews a channel's lease; the engine rejects it where it makes no progress.

    It goes past the ensemble, where it would wait behind prompts.
    """
    request = pb.ModelInferRequest(model_name=step_model(model, "engine"), id=id)
    _add_input(request, STOP, [struct.pack("<?", False)])
    request.parameters[RENEW].string_param = channel
    return request


def stop_request(model: str, request_id: str) -> Any:
    """The request that ends a request, or a channel, of the ensemble `model`."""
    request = pb.ModelInferRequest(model_name=step_model(model, "engine"), id=request_id)
    _add_input(request, STOP, [struct.pack("<?", True)])
    return request


def tokenize_request(model: str, prompt: Prompt, *, texts: bool) -> Any:
    """The request for the ids of a prompt, and for their texts; only the preprocessing of the ensemble gets it."""
    names = (INPUT_IDS.name, TOKEN_TEXTS.name) if texts else (INPUT_IDS.name,)
    outputs = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in names]
    request = pb.ModelInferRequest(model_name=step_model(model, "preprocess"), outputs=outputs)
    tensor, content = _prompt(prompt)
    _add_input(request, tensor, [content])
    for name, value in ((TOKENIZE, "texts" if texts else "ids"), *_prompt_parameters(prompt)):
        _set_parameter(request.parameters, name, value)
    return request


def _prompt(prompt: Prompt) -> tuple[Tensor, bytes]:
    if isinstance(prompt, PromptIds):
        return PROMPT_TOKEN_IDS, prompt.packed
    if isinstance(prompt, Chat):
        return CHAT, _text(prompt.json)
    return TEXT_INPUT, _text(prompt.text.encode())


def _prompt_parameters(prompt: Prompt) -> list[tuple[str, bool]]:
    if isinstance(prompt, PromptText) and prompt.add_special_tokens is not None:
        return [(ADD_SPECIAL_TOKENS, prompt.add_special_tokens)]
    return []


def _text(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + content


def _size_class(tensor: Tensor, content: bytes) -> int:
    """Rows wait for the longest prompt among them: so only short ones, or those of about its length, travel with it."""
    return max(len(content).bit_length(), _SHORT_TEXT_BITS) if tensor.datatype == "BYTES" else len(content)


def _add_input(request: Any, tensor: Tensor, rows: Sequence[bytes]) -> None:
    length = 1 if tensor.datatype == "BYTES" else len(rows[0]) // _SIZES[tensor.datatype]
    request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=(len(rows), length))
    request.raw_input_contents.append(b"".join(rows))


def _parameter(value: Any) -> bool | float | str:
    """A Triton parameter is a scalar, so a list or an object travels as JSON text."""
    return json.dumps(value) if isinstance(value, tuple | dict) else value


def _set_parameter(parameters: Any, name: str, value: bool | float | str) -> None:
    if isinstance(value, bool):  # before the numbers: Python counts it among them
        parameters[name].bool_param = value
    elif isinstance(value, str):
        parameters[name].string_param = value
    elif isinstance(value, int):
        parameters[name].int64_param = value
    else:
        parameters[name].double_param = value
