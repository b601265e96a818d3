"""The adapters that were loaded into an engine while it served: `launch` writes them, the engine reads them.

    adapters.json   which there are to be
    NUMBER/         one of them, as the runtime of the engine reads it; a number is never used twice

They lie in the directory of a run, so that an engine whose process or whose server is started again has them again. An
adapter is new until the engine has said that it runs with it: one that ends the process must not end the next one too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

ADAPTERS_VARIABLE: Final = "CONCH_ADAPTERS"  # names the directory of the shelves; without it no engine has one


@dataclass(frozen=True, slots=True)
class ShelvedAdapter:
    number: int
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Shelved:
    """What an engine is to have, by name; `grace_s` is how long requests with those that it is to lose may take."""

    adapters: Mapping[str, ShelvedAdapter] = field(default_factory=dict)
    grace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AdapterShelf:
    """That of one engine, at `path`."""

    path: Path

    @classmethod
    def of(cls, shelves: Path, engine: str) -> AdapterShelf:
        return cls(shelves / engine)

    def directory(self, number: int) -> Path:
        return self.path / str(number)

    def read(self) -> Shelved:
        """Nothing before anything was written."""
        try:
            said = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Shelved()
        return Shelved({name: ShelvedAdapter(**each) for name, each in said["adapters"].items()}, said["grace_s"])

    def write(self, shelved: Shelved) -> None:
        """Replace what is there, whole. Raises: OSError: it cannot be written."""
        self.path.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(asdict(shelved)), encoding="utf-8")
        os.replace(new, self._file)

    @property
    def _file(self) -> Path:
        return self.path / "adapters.json"
