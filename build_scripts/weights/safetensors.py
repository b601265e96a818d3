"""Reads and writes safetensors: every header is validated, and memory holds only the rows in use.

The format (huggingface.co/docs/safetensors): 8 bytes with the length of the header, little-endian; the header, JSON
padded with spaces; the data. The header gives each tensor's dtype, shape and place, counted from the end of the header.
The places must cover the data exactly, which is also what makes a truncated file show itself.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from build_scripts.weights.rows import FileRows
from build_scripts.weights.strict_json import parse_object
from build_scripts.weights.view import ITEM_SIZES, LazyTensor
from triton_repo.contract.errors import BuildError

DTYPE_NAMES: Final[Mapping[str, str]] = {
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_FORMAT_NAMES: Final = {name: dtype for dtype, name in DTYPE_NAMES.items()}
_MAX_HEADER: Final = 100_000_000  # bytes; the library's own bound
_MAX_TENSORS: Final = 1 << 18  # of one file; a model of 671 B parameters has 91,000 in 163 files
_MAX_DIMENSIONS: Final = 8
_LENGTH = 8  # bytes of the length
_ALIGNMENT: Final = 8  # bytes to which the header is padded, so that the data lies aligned


def read_header(path: Path) -> dict[str, LazyTensor]:
    """The tensors of one file, in the order in which they lie in it. Reads the header alone.

    Raises:
        BuildError: the file is no safetensors file, or contradicts itself; names file and tensor.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = _header_length(path, file.read(_LENGTH), size)
            header = parse_object(file.read(length), f"{path}: header")
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror}") from error
    header.pop("__metadata__", None)
    if len(header) > _MAX_TENSORS:
        raise BuildError(f"{path}: a header of {len(header)} tensors; must be ≤ {_MAX_TENSORS}")
    data_start = _LENGTH + length
    places = [_Place.parse(path, name, entry) for name, entry in header.items()]
    places.sort(key=lambda place: (place.start, place.stop))
    _check_cover(path, places, size - data_start)
    return {place.name: _lazy(path, place, data_start) for place in places}


def header_bytes(tensors: Mapping[str, tuple[str, Sequence[int]]]) -> tuple[bytes, dict[str, int]]:
    """The beginning of a file that holds `tensors` (name -> dtype and shape) one after the other.

    Returns:
        The bytes before the data, and name -> offset in the file. A function of the argument alone.
    """
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    starts: dict[str, int] = {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        starts[name], end = end, end + math.prod(shape) * ITEM_SIZES[dtype]
        entries[name] = {"dtype": _FORMAT_NAMES[dtype], "shape": list(shape), "data_offsets": [starts[name], end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    before = len(text).to_bytes(_LENGTH, "little") + text
    return before, {name: len(before) + start for name, start in starts.items()}


@dataclass(frozen=True, slots=True)
class _Place:
    """One entry of a header; `start` and `stop` count bytes from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @classmethod
    def parse(cls, path: Path, name: str, entry: object) -> _Place:
        values: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
        if set(values) != {"dtype", "shape", "data_offsets"}:
            raise BuildError(f"{path}: {name}: needs dtype, shape and data_offsets, and nothing else")
        if not isinstance(values["dtype"], str) or values["dtype"] not in DTYPE_NAMES:
            raise BuildError(f"{path}: {name}: dtype {values['dtype']!r:.40}; allowed: {', '.join(DTYPE_NAMES)}")
        shape, offsets = values["shape"], values["data_offsets"]
        if not _are_counts(shape) or len(shape) > _MAX_DIMENSIONS:
            raise BuildError(
                f"{path}: {name}: shape {shape!r:.80}; must be at most {_MAX_DIMENSIONS} whole numbers ≥ 0"
            )
        if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            raise BuildError(f"{path}: {name}: data_offsets {offsets!r:.80}; must be a start and an end after it")
        place = cls(name, DTYPE_NAMES[values["dtype"]], tuple(shape), offsets[0], offsets[1])
        needed = math.prod(shape) * ITEM_SIZES[place.dtype]
        if place.stop - place.start != needed:
            given = place.stop - place.start
            raise BuildError(f"{path}: {name}: {given} bytes of data; {values['dtype']} {shape} takes {needed}")
        return place


def _header_length(path: Path, prefix: bytes, size: int) -> int:
    length = int.from_bytes(prefix, "little")
    if len(prefix) < _LENGTH or length < 2:
        raise BuildError(f"{path}: not a safetensors file: it has {size} bytes and a header of {length}")
    if length > _MAX_HEADER:
        raise BuildError(f"{path}: a header of {length} bytes; must be ≤ {_MAX_HEADER}")
    if _LENGTH + length > size:
        raise BuildError(f"{path}: a header of {length} bytes in a file of {size}: truncated, or no safetensors file")
    return length


def _check_cover(path: Path, places: Iterable[_Place], size: int) -> None:
    """Each tensor begins where the one before it ends, and the last one ends with the file."""
    end = 0
    for place in places:
        if place.start != end:
            fault = "overlaps the tensor before it" if place.start < end else "leaves a hole before it"
            raise BuildError(f"{path}: {place.name}: its data at {place.start} {fault}, which ends at {end}")
        end = place.stop
        if end > size:
            raise BuildError(
                f"{path}: {place.name}: its data ends at {end}; the file has {size} bytes of data: truncated"
            )
    if end != size:
        raise BuildError(f"{path}: {size} bytes of data; its tensors take {end}")


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 63 for value in values)


def _lazy(path: Path, place: _Place, data_start: int) -> LazyTensor:
    row = math.prod(place.shape[1:])
    reader = FileRows(path, data_start + place.start, place.dtype, place.shape[1:], row * ITEM_SIZES[place.dtype])
    return LazyTensor(place.name, place.dtype, place.shape, str(path), reader)
