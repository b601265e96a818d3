"""What a directory without config.json may be that a person took for a checkpoint, and what to do with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

_ADAPTER: Final = "adapter_config.json"
# File -> what a directory with it is.
_KINDS: Final = {
    _ADAPTER: "it is a LoRA adapter{base}: build the model that it adapts, with it in build.lora, or merge the two",
    "params.json": "params.json is the publisher's own format: get the files of the model that transformers reads",
    "model_index.json": "it is a pipeline of diffusers, which makes images",
    "adapter_model.safetensors": "it is a LoRA adapter, and lacks its adapter_config.json",
}


def what_else(directory: Path) -> str:
    """The end of a sentence that says that config.json is missing."""
    for file, kind in _KINDS.items():
        if (directory / file).is_file():
            return f"; {kind.format(base=_base(directory / file) if file == _ADAPTER else '')}"
    return ""


def _base(adapter: Path) -> str:
    try:
        base = json.loads(adapter.read_bytes())["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f" of {base}" if isinstance(base, str) and base else ""
