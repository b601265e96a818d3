"""The engines that make no progress, as `launch` sees it and a gateway on the same machine reads it: a small file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def write_stalls(path: Path, stalls: Mapping[str, str]) -> None:
    """Replace what it said: engine -> why it makes no progress, as the end of a sentence."""
    new = path.with_suffix(".new")
    with suppress(OSError):  # a full disk: the gateway goes on with what it has read
        new.write_text(json.dumps(stalls), encoding="utf-8")
        os.replace(new, path)


def read_stalls(path: Path) -> dict[str, str]:
    """None are there before anything was written."""
    try:
        stalls = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stalls if isinstance(stalls, dict) else {}
