"""Reads typed values one after the other, none beyond the end of the file, and no more than a header may hold."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from triton_repo.contract.errors import BuildError

_MAX_HEADER: Final = 256 << 20  # bytes
_MAX_ITEMS: Final = 8 << 20  # values in all arrays together; the largest vocabularies take a fifth
_STRING: Final = 8
_ARRAY: Final = 9
# Number of a type in the file -> its name, and struct's letter for it.
_NUMBERS: Final = {
    0: ("uint8", "B"),
    1: ("int8", "b"),
    2: ("uint16", "H"),
    3: ("int16", "h"),
    4: ("uint32", "I"),
    5: ("int32", "i"),
    6: ("float32", "f"),
    7: ("bool", "?"),
    10: ("uint64", "Q"),
    11: ("int64", "q"),
    12: ("float64", "d"),
}
_LETTERS: Final = dict(_NUMBERS.values())


@dataclass(slots=True)
class Cursor:
    """A place in `file`, which has `size` bytes; `where` begins every error."""

    file: BinaryIO
    where: str
    size: int
    at: int = 0
    items: int = 0

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes. Raises: BuildError: the file, or what a header may hold, ends before them."""
        if count > self.size - self.at:
            fault = f"takes {count} bytes at byte {self.at} of {self.size}: truncated, or not a GGUF file"
            raise BuildError(f"{self.where}: {what!s:.100}: {fault}")
        if self.at + count > _MAX_HEADER:
            raise BuildError(f"{self.where}: {what!s:.100}: the header has more than {_MAX_HEADER} bytes")
        content = self.file.read(count)
        if len(content) < count:  # the file has become shorter
            raise BuildError(f"{self.where}: {what!s:.100}: truncated")
        self.at += count
        return content

    def number(self, kind: str, what: str) -> Any:
        """A number of the type `kind`."""
        letter = _LETTERS[kind]
        return struct.unpack(f"<{letter}", self.take(struct.calcsize(f"<{letter}"), what))[0]

    def count(self, least: int, what: str) -> int:
        """A number of things that take at least `least` bytes each."""
        count = int(self.number("uint64", what))
        if count * least > self.size - self.at:
            raise BuildError(f"{self.where}: {what!s:.100}: {count}, which the file of {self.size} bytes cannot hold")
        return count

    def text(self, limit: int, what: str) -> str:
        """Raises: BuildError: it has more than `limit` bytes, or is not UTF-8."""
        length = int(self.number("uint64", what))
        if length > limit:
            raise BuildError(f"{self.where}: {what!s:.100}: {length} bytes of text; must be ≤ {limit}")
        return self._decoded(self.take(length, what), what)

    def value(self, key: str) -> Any:
        """A value with its type before it; an array is a list."""
        kind = self.number("uint32", key)
        return self._array(key) if kind == _ARRAY else self._single(kind, key)

    def _single(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self.text(_MAX_HEADER, key)
        return self.number(self._known(kind, key)[0], key)

    def _array(self, key: str) -> list[Any]:
        kind = self.number("uint32", key)
        if kind == _ARRAY:
            raise BuildError(f"{self.where}: {key!r:.100}: an array of arrays; must be one of numbers or of texts")
        size = struct.calcsize("<Q" if kind == _STRING else f"<{self._known(kind, key)[1]}")
        count = self.count(size, key)
        self.items += count
        if self.items > _MAX_ITEMS:
            raise BuildError(f"{self.where}: {key!r:.100}: more than {_MAX_ITEMS} values in arrays")
        if kind == _STRING:
            return [self.text(_MAX_HEADER, key) for _ in range(count)]
        letter = self._known(kind, key)[1]
        return list(struct.unpack(f"<{count}{letter}", self.take(count * size, key)))

    def _known(self, kind: int, key: str) -> tuple[str, str]:
        if kind not in _NUMBERS:
            raise BuildError(f"{self.where}: {key!r:.100}: a value of type {kind}; known: 0 … 12")
        return _NUMBERS[kind]

    def _decoded(self, content: bytes, what: str) -> str:
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise BuildError(f"{self.where}: {what!s:.100}: not UTF-8: {content[:40]!r}") from error
