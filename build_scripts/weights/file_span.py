"""Part of a file, read in place: a member of an archive, or a whole file. Nothing is ever unpacked."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_repo.contract.errors import BuildError


@dataclass(frozen=True, slots=True)
class FileSpan:
    """`size` bytes of `path` from `offset` on. As text, for errors, it is the file and the member in it."""

    path: Path
    offset: int
    size: int
    member: str | None = None

    @classmethod
    def whole(cls, path: Path) -> FileSpan:
        """Raises: OSError: there is no such file."""
        return cls(path, 0, path.stat().st_size)

    def __str__(self) -> str:
        return f"{self.path} ({self.member})" if self.member is not None else str(self.path)

    def part(self, offset: int, size: int) -> FileSpan:
        """The part of it from its own byte `offset` on."""
        return FileSpan(self.path, self.offset + offset, size, self.member)

    def open(self) -> io.BufferedReader:
        """A file that holds these bytes alone. Raises: OSError."""
        return io.BufferedReader(_View(self))

    def read(self, limit: int) -> bytes:
        """All of it. Raises: BuildError: it has more than `limit` bytes, or cannot be read."""
        if self.size > limit:
            raise BuildError(f"{self}: {self.size} bytes; must be ≤ {limit}")
        try:
            with self.open() as file:
                content = file.read()
        except OSError as error:
            raise BuildError(f"{self}: {error.strerror or error}") from error
        if len(content) < self.size:
            raise BuildError(f"{self}: truncated: {self.size - len(content)} bytes are missing")
        return content


# Name in the checkpoint, with `/` between its parts -> where the bytes lie.
Members = Mapping[str, FileSpan]


def select(members: Members, prefix: str, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, FileSpan]:
    """Those in the folder `prefix` (empty, or with its `/`), by their names in it."""
    inside = {name[len(prefix) :]: span for name, span in members.items() if name.startswith(prefix)}
    return {name: span for name, span in inside.items() if wanted(name)}


class _View(io.RawIOBase):
    def __init__(self, span: FileSpan) -> None:
        super().__init__()
        self._span = span
        self._at = 0
        self._file = span.path.open("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._span.size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._span.size - self._at)]
        self._file.seek(self._span.offset + self._at)
        count = self._file.readinto(view) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
