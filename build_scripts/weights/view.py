"""What every reader gives: a checkpoint under HuggingFace's names, whatever its format, with no weights read yet.

    HF safetensors ┐
    HF .bin        │
    GGUF           ├─ readers ─>  CheckpointView(config, weights, text files)  ─> architectures ─> sharding
    NeMo, Megatron ┘

Weights are called as HuggingFace calls them (`model.layers.3.self_attn.q_proj.weight`), Linear weights are
`[out, in]`, and rotary q and k are in HuggingFace's half-split order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from triton_repo.contract.errors import BuildError

if TYPE_CHECKING:
    import torch

# torch's name -> bytes of one value, of all that a checkpoint may hold. Only the first three can be model weights.
ITEM_SIZES: Final[Mapping[str, int]] = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float64": 8,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "float8_e8m0fnu": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
}
WEIGHT_DTYPES: Final = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """A tensor that has not been read from its file yet.

    Attributes:
        dtype: torch's name without `torch.`, one of ITEM_SIZES.
        origin: the file (and member) that it lies in, for errors.
        reader: rows start…stop of dimension 0 in memory that is the caller's; reads no more than those rows.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    origin: str
    reader: Callable[[int, int], torch.Tensor] = field(repr=False, compare=False)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * ITEM_SIZES[self.dtype]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row: of one index of dimension 0."""
        return math.prod(self.shape[1:]) * ITEM_SIZES[self.dtype]

    def read_rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows start…stop (0 ≤ start ≤ stop ≤ shape[0]) as a contiguous CPU tensor that the caller may change.

        Raises:
            BuildError: the file ends too soon or cannot be read.
        """
        try:
            return self.reader(start, stop)
        except OSError as error:
            raise BuildError(f"{self.origin}: {self.name}: {error}") from error

    def read(self) -> torch.Tensor:
        """All of it. A tensor without dimensions is read as one row and comes back without dimensions."""
        rows = self.shape[0] if self.shape else 1
        return self.read_rows(0, rows).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class CheckpointView:
    """A checkpoint as HuggingFace would lay it out.

    Attributes:
        source: its display name (a hub id, a directory's name, a file).
        config: the values of HuggingFace's `config.json`.
        weights: name -> tensor, in the order in which reading them is cheapest.
        text_files: file name -> content of `generation_config.json` and of the tokenizer's files.
    """

    source: str
    config: Mapping[str, Any]
    weights: Mapping[str, LazyTensor]
    text_files: Mapping[str, bytes] = field(default_factory=dict)
