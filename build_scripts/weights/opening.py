"""Opens a checkpoint of any format as a CheckpointView: the one place that distinguishes the formats."""

from __future__ import annotations

from pathlib import Path

from build_scripts.weights.gguf.checkpoint import open_gguf
from build_scripts.weights.gguf.parts import is_gguf
from build_scripts.weights.huggingface import open_huggingface
from build_scripts.weights.nemo.checkpoint import is_nemo, open_nemo
from build_scripts.weights.view import CheckpointView


def open_checkpoint(path: Path, source: str) -> CheckpointView:
    """The checkpoint at `path`, with the display name `source`. Reads configuration and headers, and no weights.

    Raises:
        BuildError: it is of an unknown format, or broken; names the file.
    """
    if is_gguf(path):
        return open_gguf(path, source)
    return open_nemo(path, source) if is_nemo(path) else open_huggingface(path, source)


def is_to_convert(path: Path) -> bool:
    """Whether the checkpoint at `path` is of a format that is converted before an engine is built from it."""
    return is_gguf(path) or is_nemo(path)
