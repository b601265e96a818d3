"""What `conch serve` prints, where it can: servers outlast a full disk, and what reads their lines."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import TextIO


class _Lossy(io.TextIOBase):
    """Drops what it cannot write. `file` is None where the standard stream is closed."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def write(self, text: str, /) -> int:
        if self._file is not None:
            with suppress(OSError):
                self._file.write(text)
        return len(text)

    def flush(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.flush()

    def isatty(self) -> bool:
        return self._file is not None and self._file.isatty()

    def fileno(self) -> int:
        return super().fileno() if self._file is None else self._file.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # as a file has it
        return "utf-8" if self._file is None else self._file.encoding


@contextmanager
def lossy_stderr() -> Iterator[None]:
    """Of this process: rich and Python's own `print` end a program that cannot write."""
    with redirect_stderr(_Lossy(sys.stderr)):
        yield


def announce(message: str) -> None:
    """To standard output, if it can be written to.

    Not by way of `sys.stdout`, which keeps what it could not write, and ends the program with an error for it.
    """
    if sys.stdout is not None:
        with suppress(OSError), open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False) as output:
            output.write(message)
