"""What a quantized engine weighs and where it runs. The quantizing itself is TensorRT-LLM's, on a GPU host."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from build_scripts.tensorrt_llm.sharding.layout import RankFile
from build_scripts.tensorrt_llm.sharding.rules import ShardTensor

_SCALE_BYTES = 2  # float16 or bfloat16


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the weights of the layers' Linear parts are stored; embeddings, norms and lm_head stay as they are.

    Attributes:
        algorithm: TensorRT-LLM's `quant_algo` or HuggingFace's `quant_method`, None for none.
        bits: of one weight, 0 for full precision.
        group: weights of a row that share a scale, 0 for one scale to a row.
        scale_bytes: of a scale.
        capability: the least compute capability of the GPU.
        cards: the first GPUs that have it, for people.
    """

    algorithm: str | None
    bits: int
    group: int = 0
    scale_bytes: int = _SCALE_BYTES
    capability: tuple[int, int] = (8, 0)
    cards: str = "A100, A10, A40 and later"


QUANTIZATIONS: Final[Mapping[str, Quantization]] = {
    "none": Quantization(None, 0),
    "int8": Quantization("W8A16", 8),
    "int4": Quantization("W4A16", 4),
    "fp8": Quantization("FP8", 8, capability=(8, 9), cards="L4, L40S, H100 and later"),
    "int4_awq": Quantization("W4A16_AWQ", 4, group=128),
    "nvfp4": Quantization("NVFP4", 4, group=16, scale_bytes=1, capability=(10, 0), cards="B200 and later"),
}


def engine_bytes(file: RankFile, how: Quantization) -> int:
    """Bytes of weights of one rank on the GPU: those of the shards exactly, or of a quantized engine about."""
    if not how.bits:
        return file.weight_bytes
    return sum(_quantized_bytes(file, tensor, how) for tensor in file.tensors)


def _quantized_bytes(file: RankFile, tensor: ShardTensor, how: Quantization) -> int:
    """The router of a mixture, which has a dtype of its own, stays as it is."""
    if len(tensor.shape) < 2 or tensor.dtype is not None or not tensor.name.startswith("transformer.layers."):
        return file.bytes_of(tensor)
    values, columns = math.prod(tensor.shape), tensor.shape[-1]
    rows = values // columns
    scales = rows * (-(-columns // how.group) if how.group else 1)
    return values * how.bits // 8 + scales * how.scale_bytes
