"""A model and a draft that mostly agree: `python -m bench.choices.checkpoints SOURCE MODEL DRAFT`.

Of the random model SOURCE the later layers are damped until they seldom change what is said; its first layers alone are
the draft. What they cost is what a trained pair of these shapes costs; how often the draft is right is arbitrary, and
told beside the figures.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

DRAFT_LAYERS: Final = 2
DAMPING: Final = 0.04
_LAYER: Final = re.compile(r"model\.layers\.(\d+)\.")
_RESIDUAL: Final = ("self_attn.o_proj.weight", "mlp.down_proj.weight")  # what a layer adds to the stream


def write(source: Path, model: Path, draft: Path) -> None:
    """Write both checkpoints, each whole or not at all."""
    weights = load_file(source / "model.safetensors")
    damped = {name: _damped(name, weight) for name, weight in weights.items()}
    _save(source, model, damped, None)
    _save(source, draft, {name: weight for name, weight in damped.items() if _layer(name) < DRAFT_LAYERS}, DRAFT_LAYERS)


def _damped(name: str, weight: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    return weight * np.float16(DAMPING) if _layer(name) >= DRAFT_LAYERS and name.endswith(_RESIDUAL) else weight


def _layer(name: str) -> int:
    match = _LAYER.match(name)
    return int(match[1]) if match else -1


def _save(source: Path, output: Path, weights: dict[str, npt.NDArray[np.float16]], layers: int | None) -> None:
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    if layers is not None:
        config = json.loads((partial / "config.json").read_text(encoding="utf-8"))
        (partial / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}), encoding="utf-8")
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    partial.rename(output)


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:4]))
