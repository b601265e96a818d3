"""The rules of the catalog as they are now: their file is read again when it changes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from gateway.catalog.rules import Rules, read_rules
from gateway.catalog.watched_file import WatchedFile
from triton_repo.contract.errors import LaunchError

logger = logging.getLogger(__name__)


class RulesFile:
    """
    Raises:
        LaunchError: as `read_rules`; later changes of that kind are logged, and the rules stay as they were.
    """

    def __init__(self, file: Path | None, aliases: Sequence[str]) -> None:
        self._file = file
        self._aliases = tuple(aliases)
        self._watched = WatchedFile(file) if file else None
        self._rules = read_rules(file, self._aliases)

    def current(self) -> Rules:
        if self._watched is not None and self._watched.has_changed():
            self._read_again()
        return self._rules

    def _read_again(self) -> None:
        try:
            self._rules = read_rules(self._file, self._aliases)
        except LaunchError as error:
            logger.error("%s; the names of models stay as they were", error)
        else:
            logger.info("%s: read again", self._file)
