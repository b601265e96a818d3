"""Counts that all processes of one gateway share: how many requests are open, and what each engine has been given.

A count has a cell for each process, which alone writes it, so that none waits for another; and a name, under which
each process finds its row. Beside those cells a row has one that all of them write, in turns.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import mmap
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

MAX_ROWS: Final = 1 << 15  # three for each key that there has been: more than 10,000 of them

_CELL_BYTES: Final = 8
_HEAD: Final = 2  # cells of a row that belong to no process
_OPEN: Final = "open requests"


class Row:
    """One count, of all processes together. `own` is what this one contributes."""

    __slots__ = ("_cells", "_slot", "num_processes")

    def __init__(self, cells: memoryview[int], slot: int) -> None:
        self._cells = cells
        self._slot = slot
        self.num_processes = len(cells)

    @property
    def is_shared(self) -> bool:
        return self.num_processes > 1

    @property
    def own(self) -> int:
        return self._cells[self._slot]

    @own.setter
    def own(self, count: int) -> None:
        self._cells[self._slot] = count

    def total(self) -> int:
        return self._cells[0] if self.num_processes == 1 else sum(self._cells)

    def share(self, limit: float, waiting: Row) -> float:
        """How much of a limit on the total this one may use: as much as each other for which something is `waiting`."""
        if not self.is_shared or limit == math.inf:
            return limit
        others = [*zip(self._others(), waiting._others(), strict=True)]
        left = limit - sum(used for used, num_waiting in others if not num_waiting)
        rivals = [used for used, num_waiting in others if num_waiting]
        return min(left - sum(rivals), left // (1 + len(rivals)))

    def _others(self) -> list[int]:
        """What each other process contributes."""
        return [*self._cells[: self._slot], *self._cells[self._slot + 1 :]]


class Tally:
    """One process's view. Without arguments it is that of a gateway of one process."""

    def __init__(self, memory: bytearray | mmap.mmap | None = None, slot: int = 0, file: Path | None = None) -> None:
        # For each row the hash of its name, 0 where there is none, then what all write, then what each writes.
        memory = bytearray(_CELL_BYTES * (_HEAD + 1) * MAX_ROWS) if memory is None else memory
        self._memory = memoryview(memory).cast("q")
        self._stride = len(self._memory) // MAX_ROWS
        self._slot = slot
        # Kept open for the lock: a request must end even where no file can be opened any more, or this one is gone.
        self._lock = None if file is None else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        if self._lock is not None:
            weakref.finalize(self, os.close, self._lock)
        self._rows: dict[str, Row] = {}
        self._cells: dict[str, memoryview[int]] = {}  # those of a row, by its name
        self._open = self.row(_OPEN)

    @classmethod
    def shared(cls, file: Path, slot: int) -> Tally:
        """A slot of a file that `create_slots` made."""
        with file.open("r+b") as opened:
            return cls(mmap.mmap(opened.fileno(), 0), slot, file)

    def set(self, count: int) -> None:
        """The open requests of this process."""
        self._open.own = count

    def total(self) -> int:
        return self._open.total()

    def row(self, name: str) -> Row:
        """The count of that name, which is made where it is new."""
        if name not in self._rows:
            self._rows[name] = Row(self._cells_of(name)[_HEAD:], self._slot)
        return self._rows[name]

    def change_common(self, name: str, change: Callable[[int], int]) -> int:
        """What all processes write of a row, after this change of it: no other process comes in between."""
        cells = self._cells_of(name)
        with self._locked():
            value = cells[1] = change(cells[1])
        return value

    def clear(self) -> None:
        """Forget what a process contributed that has died: this is its slot."""
        for start in range(0, len(self._memory), self._stride):
            self._memory[start + _HEAD + self._slot] = 0

    def _cells_of(self, name: str) -> memoryview[int]:
        """Where all rows are taken, cells of this process alone: it counts for itself, rather than not at all."""
        if name not in self._cells:
            start = self._find(name)
            if start is None:
                logger.error("more than %d counts: each worker counts %s for itself", MAX_ROWS, name)
                self._cells[name] = memoryview(bytearray(_CELL_BYTES * self._stride)).cast("q")
            else:
                self._cells[name] = self._memory[start : start + self._stride]
        return self._cells[name]

    def _find(self, name: str) -> int | None:
        """Where the row of that name begins, or a free one; None if there is none."""
        digest = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=_CELL_BYTES).digest(), signed=True) or 1
        with self._locked():
            for probe in range(MAX_ROWS):
                start = (digest + probe) % MAX_ROWS * self._stride
                if self._memory[start] in (0, digest):
                    self._memory[start] = digest
                    return start
        return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def create_slots(file: Path, num_slots: int) -> None:
    """Zeros that take no place before something is counted: most rows never are."""
    with file.open("wb") as opened:
        opened.truncate(_CELL_BYTES * (_HEAD + num_slots) * MAX_ROWS)
