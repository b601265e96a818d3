"""`.metadata` of a torch distributed checkpoint: which tensors there are, in which chunks, in which files.

It is a pickle, and torch itself reads it with `pickle.load`, which runs code that it names. Here each class of torch's
that may occur in it is an inert stand-in, and nothing else is ever looked up (classes: torch/distributed/checkpoint/
metadata.py and filesystem.py).
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final

from build_scripts.weights.file_span import FileSpan
from build_scripts.weights.view import ITEM_SIZES
from triton_repo.contract.errors import BuildError

# What a damaged pickle makes the unpickler raise.
_DAMAGE: Final = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError,
                  TypeError, ValueError, struct.error)  # fmt: skip
_MAX_BYTES: Final = 64 << 20
_MAX_DIMENSIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a tensor, from `offsets` on: `length` bytes at `start` of the file `file` next to `.metadata`."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor, whole."""

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[Chunk, ...]


def read_metadata(span: FileSpan, wanted: Callable[[str], bool]) -> dict[str, Entry]:
    """Key -> tensor, of the tensors that are `wanted`.

    Raises:
        BuildError: the file asks for more than such a description, is damaged, or contradicts itself.
    """
    content = span.read(_MAX_BYTES)
    try:
        value = _Unpickler(io.BytesIO(content)).load()
    except pickle.UnpicklingError as error:
        raise BuildError(f"{span}: {str(error)[:200]}") from error
    except _DAMAGE as error:
        raise BuildError(f"{span}: damaged: {type(error).__name__}: {str(error)[:150]}") from error
    tensors, places = _field(value, "state_dict_metadata"), _field(value, "storage_data")
    if not isinstance(tensors, dict) or not isinstance(places, dict):
        raise BuildError(f"{span}: not the metadata of a torch distributed checkpoint")
    located = _by_place(span, places)
    return {
        key: _entry(span, key, item, located)
        for key, item in tensors.items()
        if isinstance(key, str) and wanted(key) and _field(item, "chunks") is not None
    }


class _StandIn:
    """An object of some class of torch's, without the class: what was set on it."""

    fields: Mapping[Any, Any] = MappingProxyType({})

    def __init__(self, *_: Any) -> None:
        """Takes what the class takes."""

    def __setstate__(self, state: Any) -> None:
        self.fields = state if isinstance(state, dict) else {"state": state}


class _Dtype(str):
    __slots__ = ()


def _ignored(*_: Any) -> None:
    """Of a value that plays no part."""


_CHECKPOINT: Final = "torch.distributed.checkpoint.metadata"
_CLASSES: Final[Mapping[tuple[str, str], Callable[..., Any]]] = {
    **dict.fromkeys([(_CHECKPOINT, name) for name in (
        "Metadata", "MetadataIndex", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata",
        "TensorProperties", "StorageMeta", "_MEM_FORMAT_ENCODING")], _StandIn),
    ("torch.distributed._shard.sharded_tensor.metadata", "TensorProperties"): _StandIn,
    ("torch.distributed._shard.sharded_tensor.metadata", "MEM_FORMAT_ENCODING"): _StandIn,
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): _StandIn,
    ("torch", "Size"): lambda sizes=(): tuple(sizes),
    ("torch.serialization", "_get_layout"): _ignored,
    ("collections", "OrderedDict"): OrderedDict,
    ("pathlib", "PosixPath"): _ignored,
    ("pathlib", "PurePosixPath"): _ignored,
    ("pathlib._local", "PosixPath"): _ignored,
}  # fmt: skip


# The one in Python, not the one in C: its opcodes can be taken away, and a number in a damaged file is no allocation.
_PythonUnpickler: Any = pickle._Unpickler


class _Unpickler(_PythonUnpickler):  # type: ignore[misc]
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in ITEM_SIZES:
            return _Dtype(name)
        if (module, name) not in _CLASSES:
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which a description of tensors has no use for")
        return _CLASSES[module, name]

    def _set_item(self) -> None:
        _check_keys(self.stack[-2:-1])
        self.load_setitem()

    def _set_items(self) -> None:
        _check_keys(self.stack[0::2])
        self.load_setitems()

    def _build(self) -> None:
        if not isinstance(self.stack[-2], _StandIn):
            raise pickle.UnpicklingError("sets the state of what has none")
        self.load_build()


def _check_keys(keys: list[Any]) -> None:
    """Text and stand-ins: a tuple of tuples of tuples would be hashed down to the bottom of the stack."""
    if not all(isinstance(key, str | int | _StandIn) for key in keys):
        raise pickle.UnpicklingError("a table with keys of an odd kind")


_REFUSED: Final = (pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.EXT1, pickle.EXT2,
                   pickle.EXT4, pickle.PERSID, pickle.BINPERSID, pickle.INST, pickle.OBJ, pickle.DICT,
                   pickle.ADDITEMS, pickle.FROZENSET, pickle.EMPTY_SET)  # fmt: skip
_Unpickler.dispatch = {
    **{code: load for code, load in _PythonUnpickler.dispatch.items() if bytes([code]) not in _REFUSED},
    pickle.SETITEM[0]: _Unpickler._set_item,
    pickle.SETITEMS[0]: _Unpickler._set_items,
    pickle.BUILD[0]: _Unpickler._build,
}


def _field(value: Any, name: str) -> Any:
    return value.fields.get(name) if isinstance(value, _StandIn) else None


def _by_place(span: FileSpan, places: Mapping[Any, Any]) -> dict[tuple[str, tuple[int, ...]], tuple[str, int, int]]:
    """(key, offsets) -> file, start, length."""
    located = {}
    for index, info in places.items():
        key, offsets = _field(index, "fqn"), _field(index, "offset")
        file, start, length = (_field(info, name) for name in ("relative_path", "offset", "length"))
        if not isinstance(key, str) or offsets is None:
            continue  # no tensor
        if not isinstance(file, str) or not _counts((start, length)) or not _counts(offsets):
            raise BuildError(f"{span}: {key:.200}: no place in a file")
        if PurePosixPath(file).name != file:
            raise BuildError(f"{span}: {key:.200}: lies in {file!r:.200}; must be a file in the same directory")
        if _field(info, "transform_descriptors"):
            raise BuildError(f"{span}: {key:.200}: compressed or encrypted; must be as torch saves it")
        located[key, tuple(offsets)] = (file, start, length)
    return located


def _entry(
    span: FileSpan, key: str, item: Any, located: Mapping[tuple[str, tuple[int, ...]], tuple[str, int, int]]
) -> Entry:
    shape, chunks = _field(item, "size"), _field(item, "chunks")
    properties = _field(item, "properties")
    state = properties.fields.get("state", ()) if isinstance(properties, _StandIn) else ()
    dtype = state[0] if isinstance(state, tuple) and state else _field(properties, "dtype")
    if not isinstance(dtype, _Dtype) or not _counts(shape) or not isinstance(chunks, list):
        raise BuildError(f"{span}: {key:.200}: no dtype, shape and chunks")
    parts = []
    for chunk in chunks:
        offsets, sizes = _field(chunk, "offsets"), _field(chunk, "sizes")
        if not _counts(offsets) or not _counts(sizes) or not len(offsets) == len(sizes) == len(shape):
            raise BuildError(f"{span}: {key:.200}: a chunk without offsets and sizes")
        if (key, tuple(offsets)) not in located:
            raise BuildError(f"{span}: {key:.200}: no file has its chunk at {list(offsets)}")
        parts.append(Chunk(tuple(offsets), tuple(sizes), *located[key, tuple(offsets)]))
    return Entry(str(dtype), tuple(shape), tuple(parts))


def _counts(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) <= _MAX_DIMENSIONS
        and all(type(value) is int and 0 <= value < 1 << 62 for value in values)
    )
