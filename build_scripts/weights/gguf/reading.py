"""A stored tensor as a LazyTensor."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from build_scripts.weights.gguf.header import StoredTensor
from build_scripts.weights.gguf.quantized import QuantizedRows
from build_scripts.weights.rows import FileRows
from build_scripts.weights.view import ITEM_SIZES, LazyTensor
from triton_repo.contract.errors import BuildError

if TYPE_CHECKING:
    import torch


def lazy(tensor: StoredTensor, name: str) -> LazyTensor:
    """`tensor`, called `name`, in float32 if it has a scale.

    Raises:
        BuildError: it is quantized and no matrix, or has several scales, which only the matrices within it can have.
    """
    if tensor.scales:
        raise BuildError(f"{tensor.path}: {tensor.name}: {len(tensor.scales)} scales; must be 1, as it has no experts")
    found = _unscaled(tensor, name)
    return found if tensor.scale == 1 else replace(found, dtype="float32", reader=_Scaled(found, tensor.scale))


def numbers(tensor: StoredTensor, most: int) -> list[float]:
    """A small table, read. Raises: BuildError: it is none, or has more than `most` values."""
    if len(tensor.shape) != 1 or tensor.shape[0] > most:
        raise BuildError(f"{tensor.path}: {tensor.name}: shape {list(tensor.shape)}; must be at most [{most}]")
    return [float(value) for value in lazy(tensor, tensor.name).read().float().tolist()]


def _unscaled(tensor: StoredTensor, name: str) -> LazyTensor:
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


def constant(name: str, value: float, shape: tuple[int, ...], origin: str) -> LazyTensor:
    """`value` as a tensor of one value, of no or of one dimension."""
    return LazyTensor(name, "float32", shape, origin, _Constant(value))


@dataclass(frozen=True, slots=True)
class _Scaled:
    stored: LazyTensor
    scale: float

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        return self.stored.read_rows(start, stop).float() * self.scale


@dataclass(frozen=True, slots=True)
class _Constant:
    value: float

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        import torch

        return torch.full((stop - start,), self.value)
