"""Draft models for tests: a checkpoint without its last layers speaks the same language, less well."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file

_LAYER = re.compile(r"model\.layers\.(\d+)\.")


def write_draft(checkpoint: Path, output: Path, num_layers: int) -> None:
    """Write the first layers of a Llama checkpoint as a checkpoint of its own."""
    shutil.copytree(checkpoint, output)
    config = json.loads((output / "config.json").read_text())
    (output / "config.json").write_text(json.dumps({**config, "num_hidden_layers": num_layers}))
    weights = load_file(checkpoint / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if _layer(name) < num_layers}
    save_file(kept, output / "model.safetensors", metadata={"format": "pt"})


def _layer(name: str) -> int:
    match = _LAYER.match(name)
    return int(match[1]) if match else -1
