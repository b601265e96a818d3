"""Answers of KServe's API: what a model has inferred, as JSON or as JSON with the bytes of tensors behind it."""

from __future__ import annotations

import struct
from typing import Any, Final, NotRequired

import orjson
from pydantic import ConfigDict
from typing_extensions import TypedDict

from gateway.answers.inference.models import Inferred
from gateway.answers.inference.tensor import BYTES, CODES, Parameter, Tensor, split_strings
from gateway.dialects.kserve.request import BINARY_SIZE, Form
from triton_repo.contract.errors import EngineFailed, InvalidRequest

# Of Triton's extensions those that are served. Shared memory, model control, trace and log settings are not.
EXTENSIONS: Final = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "parameters",
    "schedule_policy",
    "sequence",
    "statistics",
)


class ServerMetadata(TypedDict):
    name: str
    version: str
    extensions: list[str]


class ServerLive(TypedDict):
    live: bool


class ServerReady(TypedDict):
    ready: bool


class ModelReady(TypedDict):
    name: str
    ready: bool


class TensorMetadata(TypedDict):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(TypedDict):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelConfiguration(TypedDict):
    """Its config.pbtxt (Triton's `ModelConfig`): these fields, and all others."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    name: str
    platform: str
    backend: str
    max_batch_size: int


class ModelStatistics(TypedDict):
    model_stats: list[dict[str, Any]]


class InferredTensor(TypedDict):
    """`data` is one list, in row-major order; without it the content stands behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: NotRequired[dict[str, Parameter]]
    data: NotRequired[list[Any]]


class InferResponse(TypedDict):
    """`id` is that of the request, if it had one."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    parameters: NotRequired[dict[str, Parameter]]
    outputs: list[InferredTensor]


def encode(inferred: Inferred, form: Form) -> tuple[bytes, int | None]:
    """A body, and how long its JSON is if bytes stand behind that.

    Raises:
        InvalidRequest: JSON cannot hold an output that was asked for in it.
        EngineFailed: an output has not the bytes that its type and shape need.
    """
    behind: list[bytes] = []
    outputs: list[InferredTensor] = []
    for tensor in inferred.outputs:
        is_binary = form.is_binary(tensor.name)
        outputs.append(_output(tensor, is_binary=is_binary))
        if is_binary:
            behind.append(tensor.content)
    response: InferResponse = {
        "model_name": inferred.model.name,
        "model_version": inferred.model.version,
        "outputs": [],
    }
    if inferred.id:
        response["id"] = inferred.id
    if inferred.parameters:
        response["parameters"] = dict(inferred.parameters)
    response["outputs"] = outputs
    head = orjson.dumps(response)
    return (b"".join([head, *behind]), len(head)) if behind else (head, None)


def _output(tensor: Tensor, *, is_binary: bool) -> InferredTensor:
    output: InferredTensor = {"name": tensor.name, "datatype": tensor.datatype, "shape": [*tensor.shape]}
    size: dict[str, Parameter] = {BINARY_SIZE: len(tensor.content)} if is_binary else {}
    if parameters := {**tensor.parameters, **size}:
        output["parameters"] = parameters
    if not is_binary:
        output["data"] = _values(tensor)
    return output


def _values(tensor: Tensor) -> list[Any]:
    if tensor.datatype == BYTES:
        return _texts(tensor)
    if tensor.datatype not in CODES:
        raise InvalidRequest(f"output {tensor.name}: JSON has no {tensor.datatype}; ask for binary_data", "outputs")
    code = CODES[tensor.datatype]
    num_values, rest = divmod(len(tensor.content), struct.calcsize("<" + code))
    if rest:
        raise EngineFailed("the model failed")
    return [*struct.unpack(f"<{num_values}{code}", tensor.content)]


def _texts(tensor: Tensor) -> list[str]:
    try:
        return [string.decode() for string in split_strings(tensor.content, len(tensor.content))]
    except UnicodeDecodeError:
        message = f"output {tensor.name}: has bytes that are no text in UTF-8; ask for binary_data"
        raise InvalidRequest(message, "outputs") from None
    except ValueError:
        raise EngineFailed("the model failed") from None
