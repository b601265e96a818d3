"""Triton's models that are no engines of Conch, over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc import service_pb2 as pb

from gateway.answers.inference.models import Inference, Inferred, Json, ModelVersion
from gateway.answers.inference.tensor import Parameter, Tensor
from gateway.triton.connection import TritonConnection
from gateway.triton.errors import other_model_error, rpc_error
from triton_repo.contract.errors import EngineFailed, InvalidRequest, ModelNotFound

_TIMEOUT_S: Final = 5.0
MAX_MESSAGE_BYTES: Final = 2**31 - 2**20  # protobuf's 2 GB, less what a message has beside its tensors
_UINT64: Final = 2**63  # from here on an integer is one of these


class TritonModels:
    """Those of one server."""

    def __init__(self, connection: TritonConnection) -> None:
        self._connection = connection

    async def metadata(self, model: ModelVersion) -> Json:
        request = pb.ModelMetadataRequest(name=model.name, version=model.version)
        return to_json(await _answer(self._connection.ModelMetadata(request, timeout=_TIMEOUT_S), model))

    async def configuration(self, model: ModelVersion) -> Json:
        request = pb.ModelConfigRequest(name=model.name, version=model.version)
        return to_json((await _answer(self._connection.ModelConfig(request, timeout=_TIMEOUT_S), model)).config)

    async def statistics(self, model: ModelVersion) -> Json:
        request = pb.ModelStatisticsRequest(name=model.name, version=model.version)
        return to_json(await _answer(self._connection.ModelStatistics(request, timeout=_TIMEOUT_S), model))

    async def is_ready(self, model: ModelVersion) -> bool:
        request = pb.ModelReadyRequest(name=model.name, version=model.version)
        try:
            return bool((await _answer(self._connection.ModelReady(request, timeout=_TIMEOUT_S), model)).ready)
        except ModelNotFound:
            return False

    async def infer(self, inference: Inference) -> Inferred:
        if (size := sum(len(tensor.content) for tensor in inference.inputs)) > MAX_MESSAGE_BYTES:
            raise InvalidRequest(f"inputs: {size} bytes; gRPC takes {MAX_MESSAGE_BYTES} of them to Triton", "inputs")
        call = self._connection.infer(infer_request(inference), inference.traceparent)
        return inferred(await _answer(call, inference.model))

    async def server_version(self) -> str:
        try:
            return str((await self._connection.ServerMetadata(pb.ServerMetadataRequest(), timeout=_TIMEOUT_S)).version)
        except grpc.aio.AioRpcError as error:
            raise rpc_error(error) from None


async def _answer(reply: Awaitable[Any], model: ModelVersion) -> Any:
    try:
        return await reply
    except grpc.aio.AioRpcError as error:
        raise other_model_error(error, model) from None


def infer_request(inference: Inference) -> Any:
    """As a protobuf ModelInferRequest."""
    name, version = inference.model
    request = pb.ModelInferRequest(model_name=name, model_version=version, id=inference.id)
    _set(request.parameters, inference.parameters)
    for tensor in inference.inputs:
        message = request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        _set(message.parameters, tensor.parameters)
        request.raw_input_contents.append(tensor.content)
    for output in inference.outputs:
        _set(request.outputs.add(name=output.name).parameters, output.parameters)
    return request


def inferred(response: Any) -> Inferred:
    """Raises: EngineFailed: not every output has its bytes."""
    contents = response.raw_output_contents
    if len(contents) != len(response.outputs):
        raise EngineFailed("the model failed")
    outputs = [
        Tensor(output.name, output.datatype, tuple(output.shape), content, _parameters(output.parameters))
        for output, content in zip(response.outputs, contents, strict=True)
    ]
    model = ModelVersion(response.model_name, response.model_version)
    return Inferred(model, response.id, _parameters(response.parameters), outputs)


def _set(target: Any, parameters: Mapping[str, Parameter]) -> None:
    for name, value in parameters.items():
        match value:
            case bool():
                target[name].bool_param = value
            case int() if value >= _UINT64:
                target[name].uint64_param = value
            case int():
                target[name].int64_param = value
            case float():
                target[name].double_param = value
            case str():
                target[name].string_param = value


def _parameters(given: Any) -> dict[str, Parameter]:
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in given.items()}
    return {name: getattr(given[name], field) for name, field in chosen.items() if field}


def to_json(message: Any) -> Json:
    """A message as Triton's own HTTP API writes it: all fields, by their names, and 64-bit integers as numbers.

    protobuf's own JSON has them as strings. A message within it that is not set is left out.
    """
    fields: Json = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            is_message = field.message_type.fields_by_name["value"].message_type is not None
            fields[field.name] = {str(key): to_json(value[key]) if is_message else value[key] for key in value}
        elif field.label == FieldDescriptor.LABEL_REPEATED:
            fields[field.name] = [_value(field, each) for each in value]
        elif not field.has_presence or message.HasField(field.name):
            fields[field.name] = _value(field, value)
    return fields


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return to_json(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value.decode(errors="replace") if isinstance(value, bytes) else value
