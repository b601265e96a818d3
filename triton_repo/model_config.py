"""Triton's own schema of `config.pbtxt`: the tensors of `tensors.py` as protobuf, never as string templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from triton_repo.contract.tensors import Datatype, Tensor

# KServe v2 names a string BYTES, config.pbtxt names it TYPE_STRING.
_TYPES: Final[Mapping[Datatype, int]] = {
    "BYTES": pb.TYPE_STRING,
    "BOOL": pb.TYPE_BOOL,
    "INT32": pb.TYPE_INT32,
    "UINT64": pb.TYPE_UINT64,
    "FP16": pb.TYPE_FP16,
    "FP32": pb.TYPE_FP32,
}


def model_input(tensor: Tensor) -> pb.ModelInput:
    """An input. One of variable length is ragged, so that Triton may batch requests of different lengths."""
    return pb.ModelInput(
        name=tensor.name,
        data_type=_TYPES[tensor.datatype],
        dims=tensor.dims,
        optional=tensor.optional,
        allow_ragged_batch=-1 in tensor.dims,
    )


def model_output(tensor: Tensor) -> pb.ModelOutput:
    return pb.ModelOutput(name=tensor.name, data_type=_TYPES[tensor.datatype], dims=tensor.dims)


def python_model(
    name: str, inputs: Iterable[Tensor], outputs: Iterable[Tensor], *, max_batch_size: int, decoupled: bool = False
) -> pb.ModelConfig:
    """A model of the Python backend with one instance.

    One instance keeps the deltas of a stream in order. Requests that wait together are passed to it in one call.
    """
    return pb.ModelConfig(
        name=name,
        backend="python",
        max_batch_size=max_batch_size,
        input=[model_input(tensor) for tensor in inputs],
        output=[model_output(tensor) for tensor in outputs],
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=decoupled),
        dynamic_batching=pb.ModelDynamicBatching(),
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)],
    )


def to_pbtxt(config: pb.ModelConfig) -> str:
    return str(text_format.MessageToString(config))
