"""Outcomes on file, one JSON file each: what is there is whole, and a sweep that was killed goes on from it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from bench.sweep.outcome import Outcome
from build_scripts.work.disk import write_file
from triton_repo.contract.errors import BenchError

_ADAPTER: Final = TypeAdapter(Outcome)


@dataclass(frozen=True, slots=True)
class Results:
    """The outcomes under `directory`, by their fingerprints."""

    directory: Path

    def get(self, fingerprint: str) -> Outcome | None:
        """None for a point that has no outcome yet, or none that this version can read."""
        try:
            return _ADAPTER.validate_json(self._file(fingerprint).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def put(self, outcome: Outcome) -> None:
        """On disk, as one, when this returns."""
        write_file(self._file(outcome.fingerprint), _ADAPTER.dump_json(outcome) + b"\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for one sweep at a time; BenchError if another holds it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / ".lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                other = file.read().strip()
                raise BenchError(f"{self.directory.parent}: the sweep of process {other} is at work there") from error
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def _file(self, fingerprint: str) -> Path:
        return self.directory / f"{fingerprint[:32]}.json"
