"""Tensors of a `torch.save` file (HuggingFace's `.bin`, NeMo 1's `.ckpt`), without running code in the pickle.

A pickle is a program. It is only ever read by torch's restricted reader (`weights_only=True`), which knows tensors and
plain containers and rejects the rest; there is no fallback. The tensors are placed on no device, so that
reading the pickle reads no weights; their bytes are later read from where they lie in the file.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, TYPE_CHECKING, Any, Final

from build_scripts.weights.file_span import FileSpan
from build_scripts.weights.rows import FileRows
from build_scripts.weights.view import ITEM_SIZES, LazyTensor
from triton_repo.contract.errors import BuildError

if TYPE_CHECKING:
    import torch

# What a damaged pickle or archive makes torch and zipfile raise.
_DAMAGE: Final = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, NotImplementedError, OSError,
                  RuntimeError, TypeError, ValueError, struct.error, zipfile.BadZipFile)  # fmt: skip
_MAX_PICKLE: Final = 64 << 20  # bytes; that of a 400 B model has about one
_MAX_STEPS: Final = 2_000_000  # of a pickle, about 40 for each tensor; torch takes some seconds for as many
_UNUSED: Final = frozenset({"bytearray"})  # torch would make one of any size that a pickle names
_LOCAL_HEADER: Final = struct.Struct("<26xHH")  # of a zip member: the lengths of its name and of its extra field


def read_pickled(file: Path | FileSpan) -> dict[str, LazyTensor]:
    """Name -> tensor, in the pickle's order; entries that are no tensors are left out.

    A `state_dict` entry that wraps the tensors, as training checkpoints have it, is opened.

    Raises:
        BuildError: the file is broken, is of torch's format before 1.6, or would run code.
    """
    import torch

    span = _span(file)
    values, records = _load(span)
    if not isinstance(values, Mapping):
        raise BuildError(f"{span}: holds a {type(values).__name__}; must be a table of tensors")
    inner = values.get("state_dict")
    values = inner if isinstance(inner, Mapping) else values
    tensors = {str(name): value for name, value in values.items() if isinstance(value, torch.Tensor)}
    return {name: _lazy(span, name, tensor, records) for name, tensor in tensors.items()}


def read_pickled_tensor(span: FileSpan, name: str) -> LazyTensor:
    """The one tensor that was saved there, under a name of the caller's. Raises: BuildError, as `read_pickled`."""
    import torch

    value, records = _load(span)
    if not isinstance(value, torch.Tensor):
        raise BuildError(f"{span}: {name}: a {type(value).__name__}; must be a tensor")
    return _lazy(span, name, value, records)


def _span(file: Path | FileSpan) -> FileSpan:
    try:
        return file if isinstance(file, FileSpan) else FileSpan.whole(file)
    except OSError as error:
        raise BuildError(f"{file}: {error.strerror}") from error


def _load(span: FileSpan) -> tuple[Any, dict[int, int]]:
    """What was saved, with its tensors on no device, and the archive's records."""
    import torch

    try:
        with span.open() as file, torch.serialization.safe_globals([io.BytesIO]):  # Transformer Engine's own state
            records = _records(file)
            file.seek(0)
            return torch.load(file, map_location="meta", weights_only=True), records
    except UnpicklingError as error:
        raise BuildError(f"{span}: its pickle contains more than tensors: {_reason(error)}") from error
    except _DAMAGE as error:
        raise BuildError(f"{span}: not a readable torch.save file: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The line with the cause: torch puts it after advice that must not be followed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if "GLOBAL" in line or "Unsupported" in line or "blocked" in line]
    return (causes or lines or [type(error).__name__])[0][:200]


def _records(file: IO[bytes]) -> dict[int, int]:
    """Place -> bytes of each member of the archive, which must lie there uncompressed and once."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len({member.filename for member in members}) != len(members):
            raise ValueError("a member occurs twice")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise ValueError(f"{member.filename} is compressed")
            if member.filename.endswith(".pkl") and member.file_size > _MAX_PICKLE:
                raise ValueError(f"{member.filename} has {member.file_size} bytes; must be ≤ {_MAX_PICKLE}")
            if member.filename.endswith(".pkl"):
                _check_pickle(member.filename, archive.read(member))
        return {_data_offset(file, member): member.file_size for member in members}


def _check_pickle(name: str, content: bytes) -> None:
    """Raises: ValueError: to read it would take minutes, or memory that no tensor needs."""
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if number >= _MAX_STEPS:
            raise ValueError(f"{name} has more than {_MAX_STEPS} steps")
        if opcode.name == "GLOBAL" and str(argument).rpartition(" ")[2] in _UNUSED:
            raise ValueError(f"{name} asks for {argument}, which no tensor needs")


def _data_offset(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    file.seek(member.header_offset)
    name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return member.header_offset + _LOCAL_HEADER.size + int(name) + int(extra)


def _lazy(span: FileSpan, name: str, tensor: torch.Tensor, records: Mapping[int, int]) -> LazyTensor:
    storage: Any = tensor.untyped_storage()
    place = int(getattr(storage, "_checkpoint_offset", None) or 0)  # torch's own, for readers like this one
    first = int(tensor.storage_offset())
    dtype, shape, stride = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), tensor.stride()
    if dtype not in ITEM_SIZES:
        raise BuildError(f"{span}: {name}: unsupported tensor: dtype {dtype}; allowed: {', '.join(ITEM_SIZES)}")
    if place not in records:
        raise BuildError(f"{span}: {name}: unsupported tensor: its storage is not in this file")
    extent = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if tensor.numel() else 0
    end = (first + extent) * ITEM_SIZES[dtype]
    if end > records[place]:
        raise BuildError(f"{span}: {name}: takes {end} bytes of a record of {records[place]}")
    start = span.offset + place + first * ITEM_SIZES[dtype]
    if tensor.is_contiguous():
        row_bytes = math.prod(shape[1:]) * ITEM_SIZES[dtype]
        return LazyTensor(name, dtype, shape, str(span), FileRows(span.path, start, dtype, shape[1:], row_bytes))
    values = FileRows(span.path, start, dtype, (), ITEM_SIZES[dtype])
    return LazyTensor(name, dtype, shape, str(span), _StridedRows(values, extent, shape, stride))


@dataclass(frozen=True, slots=True)
class _StridedRows:
    """The rows of a tensor that lies transposed or with gaps; reads all of it for any of them."""

    values: FileRows
    extent: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        return self.values(0, self.extent).as_strided(self.shape, self.stride)[start:stop].contiguous()
