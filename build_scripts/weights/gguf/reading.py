"""A stored tensor as a LazyTensor, and the ways in which llama.cpp's layout differs from HuggingFace's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from build_scripts.weights.gguf.header import StoredTensor
from build_scripts.weights.gguf.quantized import QuantizedRows
from build_scripts.weights.rows import BLOCK_BYTES, FileRows
from build_scripts.weights.view import ITEM_SIZES, LazyTensor
from triton_repo.contract.errors import BuildError

if TYPE_CHECKING:
    import torch


def lazy(tensor: StoredTensor, name: str) -> LazyTensor:
    """`tensor`, called `name`. Raises: BuildError: it is quantized and no matrix."""
    dtype, origin = tensor.type.dtype, f"{tensor.path} ({tensor.name})"
    if tensor.type.block == 1:
        row_shape = tensor.shape[1:]
        row_bytes = math.prod(row_shape) * ITEM_SIZES[dtype]
        return LazyTensor(
            name, dtype, tensor.shape, origin, FileRows(tensor.path, tensor.offset, dtype, row_shape, row_bytes)
        )
    if len(tensor.shape) != 2:
        raise BuildError(f"{origin}: {tensor.type.name} of {len(tensor.shape)} dimensions; must be a matrix")
    reader = QuantizedRows(tensor.path, tensor.offset, tensor.type, tensor.shape[1])
    return LazyTensor(name, dtype, tensor.shape, origin, reader)


def half_split(tensor: LazyTensor, heads: int) -> LazyTensor:
    """The rows of q or k in HuggingFace's order: llama.cpp rotates neighbours, so it stores 0, half, 1, half + 1 …

    Raises:
        BuildError: the rows are not `heads` heads of an even size.
    """
    if tensor.shape[0] % (2 * heads):
        raise BuildError(f"{tensor.origin}: {tensor.shape[0]} rows; must be {heads} heads of an even size")
    reader = _HalfSplit(tensor, tensor.shape[0] // heads)
    return LazyTensor(tensor.name, tensor.dtype, tensor.shape, tensor.origin, reader)


def less_one(tensor: LazyTensor) -> LazyTensor:
    """Gemma's norms multiply by 1 + weight; llama.cpp stores the sum."""
    return LazyTensor(tensor.name, "float32", tensor.shape, tensor.origin, _LessOne(tensor))


def transposed(tensor: LazyTensor) -> LazyTensor:
    """A matrix of GPT-2, whose layers multiply from the other side."""
    return LazyTensor(tensor.name, tensor.dtype, tensor.shape[::-1], tensor.origin, _Transposed(tensor))


def one_row(tensor: LazyTensor) -> LazyTensor:
    """A vector as a matrix of one row."""
    return LazyTensor(tensor.name, tensor.dtype, (1, *tensor.shape), tensor.origin, _OneRow(tensor))


@dataclass(frozen=True, slots=True)
class _OneRow:
    stored: LazyTensor

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        return self.stored.read()[None][start:stop]


@dataclass(frozen=True, slots=True)
class _HalfSplit:
    stored: LazyTensor
    head: int

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        first, last = start // self.head * self.head, -(-stop // self.head) * self.head
        rows = self.stored.read_rows(first, last)
        ordered = rows.reshape(-1, self.head // 2, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)
        return ordered[start - first : stop - first].contiguous()


@dataclass(frozen=True, slots=True)
class _LessOne:
    stored: LazyTensor

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        return self.stored.read_rows(start, stop).float() - 1


@dataclass(frozen=True, slots=True)
class _Transposed:
    """Reads the whole matrix for every block of rows, a block at a time."""

    stored: LazyTensor

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        import torch

        rows = self.stored.shape[0]
        whole = torch.empty((stop - start, rows), dtype=getattr(torch, self.stored.dtype))
        step = max(1, BLOCK_BYTES // self.stored.row_bytes)
        for first in range(0, rows, step):
            last = min(first + step, rows)
            whole[:, first:last] = self.stored.read_rows(first, last)[:, start:stop].T
        return whole
