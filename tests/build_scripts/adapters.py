"""LoRA adapters for tests, as PEFT writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file


def write_adapter(directory: Path, **config: Any) -> Path:
    """An adapter of rank 2 of two projections; its numbers are of no meaning."""
    directory.mkdir(parents=True)
    values = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
    (directory / "adapter_config.json").write_text(json.dumps({**values, **config}))
    save_file({"lora_A": np.zeros((2, 4), np.float16)}, directory / "adapter_model.safetensors")
    return directory
