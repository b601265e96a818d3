"""The rules of the catalog as they are now: their file is read again when it changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.catalog.rules import Rules, read_rules
from triton_repo.contract.errors import LaunchError

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S: Final = 1.0


class RulesFile:
    """
    Raises:
        LaunchError: as `read_rules`; later changes of that kind are logged, and the rules stay as they were.
    """

    def __init__(self, file: Path | None, aliases: Sequence[str]) -> None:
        self._file = file
        self._aliases = tuple(aliases)
        self._read_version = self._version()
        self._rules = read_rules(file, self._aliases)
        self._looked_s = time.monotonic()

    def current(self) -> Rules:
        if self._file is not None and time.monotonic() >= self._looked_s + _LOOK_AGAIN_S:
            self._looked_s = time.monotonic()
            version = self._version()
            if version != self._read_version:
                self._read_version = version
                self._read_again()
        return self._rules

    def _read_again(self) -> None:
        try:
            self._rules = read_rules(self._file, self._aliases)
        except LaunchError as error:
            logger.error("%s; the names of models stay as they were", error)
        else:
            logger.info("%s: read again", self._file)

    def _version(self) -> tuple[int, int, int] | None:
        """Another one whenever the file is replaced or written."""
        try:
            stat = self._file.stat() if self._file else None
        except OSError:
            return None
        return (stat.st_ino, stat.st_mtime_ns, stat.st_size) if stat else None
