"""The engines that make no progress, as `conch serve` says in a file; none where it does not run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from triton_repo.contract.health.stalls import read_stalls

_INTERVAL_S: Final = 0.1


class Stalls:
    """Asked for every request, it reads the file at most ten times a second."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._reasons: Mapping[str, str] = {}
        self._next_s = 0.0

    def reason(self, model: str) -> str | None:
        """Why an engine makes no progress; None if it does."""
        now_s = time.monotonic()
        if self._file is not None and now_s >= self._next_s:
            self._next_s = now_s + _INTERVAL_S
            self._reasons = read_stalls(self._file)
        return self._reasons.get(model)
