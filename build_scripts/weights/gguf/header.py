"""The header of a GGUF file: what it says of the model, and where each tensor lies. Every number in it is checked.

The format (github.com/ggml-org/ggml/blob/master/docs/gguf.md), little-endian: `GGUF`, version, number of tensors,
number of values; the values, each with its key and type; the tensors, each with its name, dimensions, type and place;
the data, which begins at the next multiple of `general.alignment`. A count is believed only as far as the file could
hold it, so time and memory are bounded by the size of the header. (`gguf.GGUFReader` checks next to none of this.)
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from build_scripts.weights.gguf.cursor import Cursor
from build_scripts.weights.gguf.quantized import REMOVED_TYPES, TypeOfValues, known_types
from triton_repo.contract.errors import BuildError

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_MAX_NAME: Final = 1 << 16  # bytes of a key or of a tensor's name
_MAX_DIMENSIONS: Final = 4
_MAX_TENSORS: Final = 1 << 20
_MAX_ROW: Final = 1 << 24  # values in the innermost dimension of a matrix
_MAX_ALIGNMENT: Final = 1 << 16
_LEAST_VALUE: Final = 13  # bytes of an empty key, a type, and a value of one byte
_LEAST_TENSOR: Final = 24  # bytes of a tensor's entry without a name and without dimensions


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One entry of a header. `shape` has the slowest dimension first; `offset` counts bytes from the file's start.

    Its values are to be multiplied by `scale`, which some types keep in a tensor of its own, or those of its first
    dimension by `scales`, one each.
    """

    name: str
    type: TypeOfValues
    shape: tuple[int, ...]
    path: Path
    offset: int
    scale: float = 1.0
    scales: tuple[float, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Of one innermost row, as it is stored."""
        return self.shape[-1] // self.type.block * self.type.block_bytes

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape[:-1]) * self.row_bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What one file says; the order of `tensors` is that of their places."""

    path: Path
    values: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


def read_header(path: Path) -> Header:
    """The header of the file at `path`. Reads no weights.

    Raises:
        BuildError: the file is no GGUF file of a supported version, contradicts itself or ends too soon; names the key
            or the tensor.
    """
    try:
        with path.open("rb") as file:
            cursor = Cursor(file, str(path), os.fstat(file.fileno()).st_size)
            tensor_count, value_count = _preamble(cursor)
            values = _values(cursor, value_count)
            entries = _entries(cursor, tensor_count)
            start = _aligned(cursor.at, _alignment(values, path))
            tensors = _placed(path, entries, start, _alignment(values, path), cursor.size)
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror or error}") from error
    return Header(path, values, {tensor.name: tensor for tensor in tensors})


def _preamble(cursor: Cursor) -> tuple[int, int]:
    """The numbers of tensors and of values."""
    if (magic := cursor.take(4, "its first bytes")) != MAGIC:
        raise BuildError(f"{cursor.where}: not a GGUF file: it begins with {magic!r}, not {MAGIC!r}")
    version = cursor.number("uint32", "version")
    if version not in _VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        shown = f"{swapped}, big-endian" if swapped in _VERSIONS else str(version)
        raise BuildError(f"{cursor.where}: GGUF version {shown}; allowed: 2 and 3, little-endian")
    tensors = cursor.count(_LEAST_TENSOR, "number of tensors")
    if tensors > _MAX_TENSORS:
        raise BuildError(f"{cursor.where}: {tensors} tensors; must be ≤ {_MAX_TENSORS}")
    return tensors, cursor.count(_LEAST_VALUE, "number of values")


def _values(cursor: Cursor, count: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for _ in range(count):
        key = cursor.text(_MAX_NAME, "a key")
        if key in values:
            raise BuildError(f"{cursor.where}: {key!r:.100} occurs twice")
        values[key] = cursor.value(key)
    return values


@dataclass(frozen=True, slots=True)
class _Entry:
    """A tensor's entry; `offset` counts from the start of the data."""

    name: str
    shape: tuple[int, ...]
    type: TypeOfValues
    offset: int


def _entries(cursor: Cursor, count: int) -> list[_Entry]:
    entries: list[_Entry] = []
    names: set[str] = set()
    types = known_types()
    for _ in range(count):
        name = cursor.text(_MAX_NAME, "a tensor's name")
        where = f"{cursor.where}: {name!r:.100}"
        if name in names:
            raise BuildError(f"{where}: occurs twice")
        names.add(name)
        dimensions = cursor.number("uint32", name)
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise BuildError(f"{where}: {dimensions} dimensions; must be 1 … {_MAX_DIMENSIONS}")
        shape = tuple(cursor.number("uint64", name) for _ in range(dimensions))[::-1]
        kind = cursor.number("uint32", name)
        if kind not in types:
            shown = f"{kind} ({REMOVED_TYPES[kind]}, which llama.cpp reads no more)" if kind in REMOVED_TYPES else kind
            raise BuildError(f"{where}: type {shown}; known: {', '.join(each.name for each in types.values())}")
        entry = _Entry(name, shape, types[kind], cursor.number("uint64", name))
        _check_shape(entry, where)
        entries.append(entry)
    return entries


def _check_shape(entry: _Entry, where: str) -> None:
    row, block = entry.shape[-1], entry.type.block
    if not all(entry.shape) or math.prod(entry.shape) >= 1 << 63:
        raise BuildError(f"{where}: shape {list(entry.shape)}; must be numbers ≥ 1, whose product is < 2**63")
    if row % block:
        raise BuildError(f"{where}: rows of {row} values; {entry.type.name} needs a multiple of {block}")
    if len(entry.shape) > 1 and row > _MAX_ROW:
        raise BuildError(f"{where}: rows of {row} values; must be ≤ {_MAX_ROW}")


def _alignment(values: Mapping[str, Any], path: Path) -> int:
    value = values.get("general.alignment", 32)
    if type(value) is not int or not 1 <= value <= _MAX_ALIGNMENT or value & (value - 1):
        raise BuildError(f"{path}: general.alignment = {value!r:.40}; must be a power of 2, at most {_MAX_ALIGNMENT}")
    return value


def _aligned(offset: int, alignment: int) -> int:
    return (offset + alignment - 1) // alignment * alignment


def _placed(path: Path, entries: Iterable[_Entry], start: int, alignment: int, size: int) -> list[StoredTensor]:
    """In the order of their places, of which no two overlap; padding between them is allowed."""
    tensors = [StoredTensor(entry.name, entry.type, entry.shape, path, start + entry.offset) for entry in entries]
    tensors.sort(key=lambda tensor: tensor.offset)
    end = start
    for tensor in tensors:
        where = f"{path}: {tensor.name!r:.100}"
        if tensor.offset % alignment:
            raise BuildError(f"{where}: its data begins at {tensor.offset - start}; must be a multiple of {alignment}")
        if tensor.offset < end:
            raise BuildError(f"{where}: its data overlaps the tensor before it")
        end = tensor.offset + tensor.nbytes
        if end > size:
            raise BuildError(f"{where}: its data ends at byte {end}; the file has {size} bytes: truncated")
    return tensors
