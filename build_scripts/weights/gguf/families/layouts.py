"""The ways in which llama.cpp's layout of a tensor differs from HuggingFace's, undone row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from build_scripts.weights.gguf.header import StoredTensor
from build_scripts.weights.gguf.model import Model
from build_scripts.weights.gguf.reading import lazy
from build_scripts.weights.patchwork import Patch, patchwork
from build_scripts.weights.rows import BLOCK_BYTES
from build_scripts.weights.view import LazyTensor
from triton_repo.contract.errors import BuildError

if TYPE_CHECKING:
    import torch


Make = Callable[..., "torch.Tensor"]


def half_split(tensor: LazyTensor, heads: int) -> LazyTensor:
    """The rows of q or k in HuggingFace's order: llama.cpp rotates neighbours, so it stores 0, half, 1, half + 1 …

    Raises:
        BuildError: the rows are not `heads` heads of an even size.
    """
    if tensor.shape[0] % (2 * heads):
        raise BuildError(f"{tensor.origin}: {tensor.shape[0]} rows; must be {heads} heads of an even size")
    return replace(tensor, reader=_HalfSplit(tensor, tensor.shape[0] // heads))


def half_split_queries(tensor: LazyTensor, model: Model) -> LazyTensor:
    return half_split(tensor, model.heads)


def half_split_keys(tensor: LazyTensor, model: Model) -> LazyTensor:
    return half_split(tensor, model.kv_heads)


def less_one(tensor: LazyTensor, _: Model) -> LazyTensor:
    """Some norms multiply by 1 + weight, and llama.cpp stores the sum; their biases are as they are."""
    if not tensor.name.endswith(".weight"):
        return tensor
    return replace(tensor, dtype="float32", reader=_LessOne(tensor))


def transposed(tensor: LazyTensor, _: Model | None = None) -> LazyTensor:
    """A matrix of a layer that multiplies from the other side, as GPT-2's; its bias is as it is."""
    if len(tensor.shape) != 2:
        return tensor
    return replace(tensor, shape=tensor.shape[::-1], reader=_Transposed(tensor))


def one_row(tensor: LazyTensor, _: Model) -> LazyTensor:
    """A vector as a matrix of one row."""
    if len(tensor.shape) != 1:
        return tensor
    return replace(tensor, shape=(1, *tensor.shape), reader=_OneRow(tensor))


def grouped(tensor: LazyTensor, model: Model) -> LazyTensor:
    """q, k and v of all heads, of each group of heads that share a key: its queries, its key, its value.

    Raises:
        BuildError: the rows are not those of the heads.
    """
    groups, size = model.kv_heads, model.head_size
    queries = model.heads // groups * size
    if model.heads % groups or tensor.shape[0] != groups * (queries + 2 * size):
        rule = f"must be {model.heads} heads and twice {groups} of {size}"
        raise BuildError(f"{tensor.origin}: {tensor.shape[0]} rows; {rule}")
    starts = (0, model.heads * size, (model.heads + groups) * size)
    patches, row = [], 0
    for group in range(groups):
        for start, rows in zip(starts, (queries, size, size), strict=True):
            first = start + group * rows
            patches.append(Patch(tensor, range(first, first + rows), row))
            row += rows
    return patchwork(tensor.name, tensor.shape, patches)


def matrices(tensor: StoredTensor, name: str, count: int) -> list[LazyTensor]:
    """Those that lie in a tensor of one dimension more, one after another.

    Raises:
        BuildError: they are not `count`.
    """
    if len(tensor.shape) != 3 or tensor.shape[0] != count:
        rule = f"must have three dimensions, the first of {count}"
        raise BuildError(f"{tensor.path}: {tensor.name}: shape {list(tensor.shape)}; {rule}")
    size = tensor.nbytes // count
    scales = tensor.scales or (tensor.scale,) * count
    if len(scales) != count:
        raise BuildError(f"{tensor.path}: {tensor.name}: {len(scales)} scales; must be {count}")
    return [
        lazy(replace(tensor, shape=tensor.shape[1:], offset=tensor.offset + at * size, scale=scale, scales=()), name)
        for at, scale in enumerate(scales)
    ]


def alike(tensors: Sequence[LazyTensor]) -> list[LazyTensor]:
    """Those of different dtypes as float32, which holds every value of all."""
    if len({tensor.dtype for tensor in tensors}) == 1:
        return list(tensors)
    return [replace(tensor, dtype="float32", reader=_Float(tensor)) for tensor in tensors]


def interleaved(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Their rows by turns."""
    import torch

    return torch.stack((first, second), dim=1).reshape(-1, *first.shape[1:])


def above(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.cat((first, second))


def beside(first: LazyTensor, second: LazyTensor) -> LazyTensor:
    """Their columns by turns. Raises: BuildError: they are no two matrices of one shape."""
    if len(first.shape) != 2 or first.shape != second.shape:
        raise BuildError(f"{first.origin}: {first.name}: {list(first.shape)} and {list(second.shape)}; must be alike")
    shape = (first.shape[0], 2 * first.shape[1])
    one, other = alike([first, second])
    return replace(one, shape=shape, reader=_Beside(one, other))


def stacked(name: str, parts: Sequence[Sequence[LazyTensor]], make: Make, shape: tuple[int, ...]) -> LazyTensor:
    """For each expert what `make` makes of its `parts`, all of one shape; `shape` is that of what is made.

    Raises:
        BuildError: the parts are of different shapes.
    """
    first = parts[0][0]
    if any(part[0].shape != first.shape for part in parts):
        raise BuildError(f"{first.origin}: {name}: {' and '.join(str(list(part[0].shape)) for part in parts)}")
    experts = tuple(alike([part[expert] for part in parts]) for expert in range(len(parts[0])))
    return LazyTensor(name, experts[0][0].dtype, (len(experts), *shape), first.origin, _Stacked(experts, make))


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


@dataclass(frozen=True, slots=True)
class _Float:
    stored: LazyTensor

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        return self.stored.read_rows(start, stop).float()


@dataclass(frozen=True, slots=True)
class _Beside:
    first: LazyTensor
    second: LazyTensor

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        import torch

        pair = (self.first.read_rows(start, stop), self.second.read_rows(start, stop))
        return torch.stack(pair, dim=2).reshape(stop - start, -1)


@dataclass(frozen=True, slots=True)
class _Stacked:
    """Holds the parts of one expert in memory."""

    experts: Sequence[Sequence[LazyTensor]]
    make: Make

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        import torch

        made = [self.make(*(part.read() for part in parts)) for parts in self.experts[start:stop]]
        return torch.stack(made) if made else torch.empty(0)
