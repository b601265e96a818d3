"""Where every byte of a rank's file goes: the plan adds them up, the writer puts them there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from build_scripts.architectures import Decoder
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.rules import ShardTensor, rank_tensors
from build_scripts.weights.safetensors import header_bytes
from build_scripts.weights.view import ITEM_SIZES

CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True)
class RankFile:
    """`rank{r}.safetensors` of a TensorRT-LLM checkpoint. `offsets` are those of the tensors in the file."""

    rank: int
    dtype: str
    tensors: tuple[ShardTensor, ...]
    header: bytes
    offsets: Mapping[str, int]

    @property
    def name(self) -> str:
        return f"rank{self.rank}.safetensors"

    def dtype_of(self, tensor: ShardTensor) -> str:
        return tensor.dtype or self.dtype

    def bytes_of(self, tensor: ShardTensor) -> int:
        return math.prod(tensor.shape) * ITEM_SIZES[self.dtype_of(tensor)]

    @property
    def weight_bytes(self) -> int:
        return sum(map(self.bytes_of, self.tensors))

    @property
    def file_bytes(self) -> int:
        return len(self.header) + self.weight_bytes


def rank_files(decoder: Decoder, parallel: Parallelism, dtype: str) -> tuple[RankFile, ...]:
    """The files of all ranks, weights in `dtype`."""
    return tuple(rank_file(decoder, parallel, dtype, rank) for rank in range(parallel.world_size))


def rank_file(decoder: Decoder, parallel: Parallelism, dtype: str, rank: int) -> RankFile:
    tensors = rank_tensors(decoder, parallel, rank)
    header, offsets = header_bytes({tensor.name: (tensor.dtype or dtype, tensor.shape) for tensor in tensors})
    return RankFile(rank, dtype, tensors, header, offsets)
