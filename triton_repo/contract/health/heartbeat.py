"""The heartbeat of a Python model: a file in a directory that `launch` reads, written a few times a second.

Triton 2.51 calls a model ready whose process is stopped or hangs, and asks it nothing.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from triton_repo.contract.health.liveness import Age

HEARTBEATS_VARIABLE: Final = "CONCH_HEARTBEATS"  # names the directory; without it nothing is written
INTERVAL_S: Final = 0.2
# Of a model whose spec sets no limit: many times what the largest request takes on a busy machine.
WORK_LIMIT_S: Final = 120.0

_RECORD: Final = struct.Struct("<qqdd")


class Beat(NamedTuple):
    """What a process says of itself.

    Attributes:
        number: counts up with every beat.
        work_s: age of the piece of work that it is at (one request, one step); 0 if it has nothing to do.
        limit_s: a piece of work that is older than this never ends; 0 is no limit.
    """

    pid: int
    number: int
    work_s: float
    limit_s: float


class Work:
    """A context manager around each piece of work of a model that does one at a time."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._age = Age()

    def __enter__(self) -> None:
        self._began_s = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._began_s = None

    def age_s(self) -> float:
        """Without time in which this process was stopped."""
        return self._age.look(self._began_s)


class Heart:
    """Beats until it is stopped, on a thread of its own: also while the model works, unless that keeps the GIL."""

    def __init__(self, model: str, age_s: Callable[[], float], limit_s: float = WORK_LIMIT_S) -> None:
        self._age_s = age_s
        self._limit_s = limit_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._directory = os.environ.get(HEARTBEATS_VARIABLE)
        if self._directory:
            self._file = os.open(Path(self._directory) / model, os.O_WRONLY | os.O_CREAT, 0o600)
            self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._stopped.set()
            self._thread.join()
            os.close(self._file)

    def _beat(self) -> None:
        number = 0
        while True:
            number += 1
            with suppress(OSError):  # a full disk says nothing about this process
                os.pwrite(self._file, _RECORD.pack(os.getpid(), number, self._age_s(), self._limit_s), 0)
            if self._stopped.wait(INTERVAL_S):
                return


def read_beats(directory: Path) -> dict[str, Beat]:
    """The last beat of each model."""
    beats = {}
    for file in directory.iterdir():
        with suppress(FileNotFoundError, struct.error):  # it has just been made, or removed
            beats[file.name] = Beat(*_RECORD.unpack(file.read_bytes()))
    return beats
