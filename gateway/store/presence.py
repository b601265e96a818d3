"""Which of the processes that share a store are still there.

Each holds a lock on a file of its own beside the store, which the kernel drops when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

_TOKEN: Final = re.compile(r"[0-9a-f]{16}")


class Presence:
    """This process among those that share the store `file`; `token` is its name, of this run alone."""

    def __init__(self, file: Path) -> None:
        self.token = token_hex(8)
        self._prefix = f"{file.name}-process-"
        self._directory = file.parent
        unlocked = self._of(f"{self.token}.new")
        self._lock = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unlocked.rename(self._of(self.token))  # locked before another process can find it

    def is_alive(self, token: str) -> bool:
        if not _TOKEN.fullmatch(token):
            return False
        try:
            lock = os.open(self._of(token), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        with suppress(FileNotFoundError):
            self._of(token).unlink()
        return False

    def remove_others(self) -> None:
        """The files of processes that were killed."""
        for file in self._directory.glob(f"{self._prefix}*"):
            self.is_alive(file.name.removeprefix(self._prefix))

    def close(self) -> None:
        """May be called again."""
        with suppress(FileNotFoundError):
            self._of(self.token).unlink()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _of(self, token: str) -> Path:
        return self._directory / f"{self._prefix}{token}"
