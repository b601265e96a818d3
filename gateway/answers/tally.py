"""How many requests are open in all processes of one gateway."""

from __future__ import annotations

import mmap
from pathlib import Path

_SLOT_BYTES = 8


class Tally:
    """One process's view: it writes its own slot and reads all of them, so that no process waits for another.

    Without arguments it is that of a gateway of one process.
    """

    def __init__(self, memory: bytearray | mmap.mmap | None = None, slot: int = 0) -> None:
        self._slots = memoryview(memory or bytearray(_SLOT_BYTES)).cast("q")
        self._slot = slot

    @classmethod
    def shared(cls, file: Path, slot: int) -> Tally:
        """A slot of a file that `create_slots` made."""
        with file.open("r+b") as opened:
            return cls(mmap.mmap(opened.fileno(), 0), slot)

    def set(self, count: int) -> None:
        self._slots[self._slot] = count

    def total(self) -> int:
        return sum(self._slots)


def create_slots(file: Path, num_slots: int) -> None:
    file.write_bytes(bytes(_SLOT_BYTES * num_slots))
