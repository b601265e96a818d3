"""GGUF files byte by byte, right or wrong in any place."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 6, 7, 8, 9, 10


def text(value: str | bytes, length: int | None = None) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(content) if length is None else length) + content


def uint32(value: int) -> bytes:
    return struct.pack("<II", UINT32, value)


def string(value: str | bytes, length: int | None = None) -> bytes:
    return struct.pack("<I", STRING) + text(value, length)


def array(kind: int, count: int, content: bytes) -> bytes:
    return struct.pack("<IIQ", ARRAY, kind, count) + content


@dataclass(frozen=True)
class Tensor:
    """`dims` are in the file's order, the fastest first; `type` 0 is F32."""

    name: str | bytes = "a.weight"
    dims: Sequence[int] = (8,)
    type: int = 0
    offset: int = 0
    num_dims: int | None = None

    def to_bytes(self) -> bytes:
        count = len(self.dims) if self.num_dims is None else self.num_dims
        dims = struct.pack(f"<{len(self.dims)}Q", *self.dims)
        return text(self.name) + struct.pack("<I", count) + dims + struct.pack("<IQ", self.type, self.offset)


@dataclass(frozen=True)
class Raw:
    """`values` are keys and what follows them; counts are those of the lists unless given."""

    values: Sequence[tuple[str | bytes, bytes]] = (("general.architecture", string("llama")),)
    tensors: Sequence[Tensor] = (Tensor(),)
    data: bytes = bytes(32)
    magic: bytes = b"GGUF"
    version: int = 3
    num_values: int | None = None
    num_tensors: int | None = None
    alignment: int = field(default=32)

    def with_(self, **changes: Any) -> Raw:
        return replace(self, **changes)

    def to_bytes(self) -> bytes:
        tensors = len(self.tensors) if self.num_tensors is None else self.num_tensors
        values = len(self.values) if self.num_values is None else self.num_values
        head = self.magic + struct.pack("<IQQ", self.version, tensors, values)
        head += b"".join(text(key) + value for key, value in self.values)
        head += b"".join(tensor.to_bytes() for tensor in self.tensors)
        return head + bytes(-len(head) % self.alignment) + self.data
