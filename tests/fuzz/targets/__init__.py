"""One target for each reader of outside bytes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from tests.fuzz.target import Target


def all_targets() -> Iterator[Target]:
    """Those that load the most come last."""
    for module in ("requests", "http", "texts", "answers", "dialects", "checkpoints"):
        yield from importlib.import_module(f"tests.fuzz.targets.{module}").targets()
