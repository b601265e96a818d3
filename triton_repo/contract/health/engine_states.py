"""Which engines make no progress or were lost, as `launch` sees it and a gateway on the same machine reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

LOADED: Final = "loaded"
LOADING: Final = "loading"
UNLOADING: Final = "unloading"  # it ends the requests that it has, and gets no others
UNLOADED: Final = "unloaded"


@dataclass(frozen=True, slots=True)
class EngineStates:
    """Of engines by name.

    Attributes:
        stalls: why an engine makes no progress, as a sentence.
        lost: how often an engine was lost, with all its requests, while the others went on.
        absent: those that the operator has unloaded, or that are on their way, and which of it.
        loads: how often an engine was loaded or unloaded.
        adapters: those that were loaded into an engine while it served, and those on their way, and which of it.
    """

    stalls: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    loads: int = 0
    adapters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def write_states(path: Path, states: EngineStates) -> None:
    """Replace what the file says."""
    new = path.with_suffix(".new")
    with suppress(OSError):  # a full disk: the gateway goes on with what it has read
        new.write_text(json.dumps(asdict(states)), encoding="utf-8")
        os.replace(new, path)


def read_states(path: Path) -> EngineStates:
    """Nothing is wrong before anything was written."""
    try:
        return EngineStates(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return EngineStates()
