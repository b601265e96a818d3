"""Tensors of models that are no engines of Conch: names, types, shapes and bytes, checked before Triton sees them.

Types and their bytes are those of the Open Inference Protocol (KServe's v2): little-endian, in row-major order; an
element of BYTES is its length as a 32-bit integer and then so many bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Parameter = bool | int | float | str
Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "BF16",
    "FP32",
    "FP64",
    "BYTES",
]

BYTES: Final = "BYTES"

# As `struct` calls them. It knows no BF16, whose size is that of FP16.
_INTEGERS: Final = dict(
    zip(("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"), "BHIQbhiq", strict=True)
)
_FLOATS: Final = dict(zip(("FP16", "FP32", "FP64"), "efd", strict=True))
CODES: Final[Mapping[str, str]] = {"BOOL": "?", **_INTEGERS, **_FLOATS}
_SIZES: Final = {"BF16": 2, **{datatype: struct.calcsize("<" + code) for datatype, code in CODES.items()}}
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """`content` has exactly the elements of `shape`, once it is checked."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    content: bytes
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def check(self) -> Tensor:
        """
        Raises:
            ValueError: the content is not that of a tensor of this type and shape.
        """
        wanted = math.prod(self.shape)
        if self.datatype == BYTES:
            found = len(split_strings(self.content, wanted))
        else:
            found, rest = divmod(len(self.content), _SIZES[self.datatype])
            found = -1 if rest else found
        if found != wanted:
            shape = list(self.shape)
            raise ValueError(f"{len(self.content)} bytes are no {self.datatype} tensor of shape {shape}")
        return self


def join_strings(strings: Sequence[bytes]) -> bytes:
    """The content of a BYTES tensor."""
    return b"".join([_LENGTH.pack(len(string)) + string for string in strings])


def split_strings(content: bytes, most: int) -> list[bytes]:
    """The elements of a BYTES tensor, or `most` + 1 of them if there are more.

    Raises:
        ValueError: an element is longer than what is there of it.
    """
    strings: list[bytes] = []
    place = 0
    while place < len(content) and len(strings) <= most:
        begin = place + _LENGTH.size
        if begin > len(content):
            raise ValueError("a BYTES tensor ends within the length of an element")
        place = begin + _LENGTH.unpack_from(content, place)[0]
        if place > len(content):
            raise ValueError("a BYTES tensor ends within an element")
        strings.append(content[begin:place])
    return strings


def kinds(datatype: str) -> frozenset[type]:
    """What an element is in JSON."""
    if datatype == BYTES:
        return frozenset({str})
    if datatype == "BOOL":
        return frozenset({bool})
    return frozenset({int, float}) if datatype in _FLOATS else frozenset({int})
