"""A limit on the memory of one process, beyond which the kernel kills it; for root, by a cgroup of version 1 or 2."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path("/sys/fs/cgroup")
VERSION_1: Final = ROOT / "memory"
WAIT_S: Final = 60


class MemoryLimit:
    """A cgroup without a process."""

    def __init__(self) -> None:
        is_first = VERSION_1.is_dir()
        self._group = (VERSION_1 if is_first else ROOT) / f"conch-test-{os.getpid()}"
        self._limit = "memory.limit_in_bytes" if is_first else "memory.max"
        self._events = "memory.oom_control" if is_first else "memory.events"
        self._group.mkdir()

    @property
    def works(self) -> bool:
        return (self._group / self._limit).exists()

    def hold(self, pid: int, num_bytes: int) -> None:
        """What the process has is not counted, only what it is given from now on."""
        (self._group / self._limit).write_text(str(num_bytes), encoding="utf-8")
        (self._group / "cgroup.procs").write_text(str(pid), encoding="utf-8")

    @property
    def num_kills(self) -> int:
        """Of processes of this cgroup, by the kernel, because they had no memory left."""
        words = (self._group / self._events).read_text(encoding="utf-8").split()
        return int(words[words.index("oom_kill") + 1])

    def remove(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while self._group.is_dir():
            try:
                self._group.rmdir()
            except OSError:  # the process is not gone yet
                assert time.monotonic() < deadline
                time.sleep(0.1)


@contextmanager
def memory_limit() -> Iterator[MemoryLimit]:
    """Skips the test where nobody may make one."""
    try:
        limit = MemoryLimit()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        if not limit.works:
            pytest.skip(f"{ROOT}: memory is no controller of new cgroups")
        yield limit
    finally:
        limit.remove()
