"""A checkpoint of whatever kind as a CheckpointView: the one place that tells the kinds apart."""

from __future__ import annotations

from pathlib import Path

from build_scripts.weights.huggingface import open_huggingface
from build_scripts.weights.nemo.checkpoint import is_nemo, open_nemo
from build_scripts.weights.view import CheckpointView


def open_checkpoint(path: Path, source: str) -> CheckpointView:
    """The checkpoint at `path`, which people call `source`. Reads configuration and headers, and no weights.

    Raises:
        BuildError: it is of no kind that is known, or broken; names the file.
    """
    return open_nemo(path, source) if is_nemo(path) else open_huggingface(path, source)
