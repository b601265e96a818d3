"""A tensor put together from rows of others: shards of it, the layers that lie in one, heads in another order."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from build_scripts.weights.view import LazyTensor
from triton_repo.contract.errors import BuildError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Patch:
    """`rows` of `source`, and the row and column of the whole at which they begin."""

    source: LazyTensor
    rows: range
    row: int
    column: int = 0

    @classmethod
    def all_of(cls, source: LazyTensor, row: int = 0, column: int = 0) -> Patch:
        return cls(source, range(source.shape[0]), row, column)

    @property
    def end(self) -> int:
        return self.row + len(self.rows)

    @property
    def columns(self) -> int:
        return math.prod(self.source.shape[1:])


def patchwork(name: str, shape: tuple[int, ...], patches: Iterable[Patch]) -> LazyTensor:
    """The tensor of one or two dimensions that `patches` cover, each value once.

    Raises:
        BuildError: they leave a hole, overlap, reach beyond it, or are of different dtypes.
    """
    ordered = sorted(patches, key=lambda patch: (patch.row, patch.column))
    if not ordered:
        raise BuildError(f"{name}: no part of it is there")
    first = ordered[0].source
    for patch in ordered:
        if patch.source.dtype != first.dtype:
            raise BuildError(f"{patch.source.origin}: {name}: {patch.source.dtype}, and {first.dtype} elsewhere")
        if len(patch.source.shape) != len(shape) or not 1 <= len(shape) <= 2:
            raise BuildError(f"{patch.source.origin}: {name}: {len(patch.source.shape)} dimensions; not {len(shape)}")
        if patch.rows and not 0 <= patch.rows.start <= patch.rows.stop <= patch.source.shape[0]:
            raise BuildError(f"{patch.source.origin}: {name}: has {patch.source.shape[0]} rows of {patch.rows.stop}")
    _check_cover(name, shape, ordered)
    return LazyTensor(name, first.dtype, shape, first.origin, _Patchwork(shape, first.dtype, tuple(ordered)))


def _check_cover(name: str, shape: tuple[int, ...], patches: Sequence[Patch]) -> None:
    """Strips of the same columns stand side by side, and each is full from top to bottom."""
    strips: dict[tuple[int, int], int] = defaultdict(int)
    for patch in patches:
        strip = (patch.column, patch.columns)
        if strips[strip] != patch.row:
            raise BuildError(f"{patch.source.origin}: {name}: rows {_fault(strips[strip], patch.row)}")
        strips[strip] = patch.end
    column = 0
    for (start, width), end in sorted(strips.items()):
        if start != column or end != shape[0]:
            fault = f"columns {_fault(column, start)}" if start != column else f"rows {_fault(end, shape[0])}"
            raise BuildError(f"{patches[0].source.origin}: {name}: {fault}")
        column += width
    if column != math.prod(shape[1:]):
        raise BuildError(f"{patches[0].source.origin}: {name}: columns {_fault(column, math.prod(shape[1:]))}")


def _fault(reached: int, at: int) -> str:
    return f"{reached}…{at} are missing" if reached < at else f"{at}…{reached} are there twice or too many"


@dataclass(frozen=True, slots=True)
class _Patchwork:
    """The reader of the whole; `patches` lie in the order of their rows."""

    shape: tuple[int, ...]
    dtype: str
    patches: tuple[Patch, ...]

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        import torch

        wanted = [patch for patch in self.patches if patch.row < stop and patch.end > start]
        if len(wanted) == 1 and wanted[0].columns == math.prod(self.shape[1:]):
            return _read(wanted[0], start, stop)
        whole = torch.empty((stop - start, *self.shape[1:]), dtype=getattr(torch, self.dtype))
        for patch in wanted:
            at = slice(max(patch.row, start) - start, min(patch.end, stop) - start)
            place = whole[at] if whole.dim() == 1 else whole[at, patch.column : patch.column + patch.columns]
            place.copy_(_read(patch, start, stop))
        return whole


def _read(patch: Patch, start: int, stop: int) -> torch.Tensor:
    """What rows start…stop of the whole have of the patch."""
    offset = patch.rows.start - patch.row
    return patch.source.read_rows(max(patch.row, start) + offset, min(patch.end, stop) + offset)
