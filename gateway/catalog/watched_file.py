"""Whether a file has changed since it was last read: for settings that an operator may edit while servers run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

_LOOK_AGAIN_S: Final = 1.0


class WatchedFile:
    """Made before the file is first read. Asked for every request, it looks at most once a second."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._version = self._look()
        self._looked_s = time.monotonic()

    def has_changed(self) -> bool:
        """Since it was made, or last said so: the caller reads the file then, and may find that it cannot."""
        if time.monotonic() < self._looked_s + _LOOK_AGAIN_S:
            return False
        self._looked_s = time.monotonic()
        before, self._version = self._version, self._look()
        return self._version != before

    def _look(self) -> tuple[int, int, int] | None:
        """Another one whenever the file is replaced or written; None where there is none."""
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size
