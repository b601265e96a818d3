"""Whether this machine can run a verification: it streams the layers, so that it takes far less than the model."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

from build_scripts.architectures import Decoder
from build_scripts.weights.view import CheckpointView
from triton_repo.contract.errors import BuildError
from triton_repo.contract.placement.cgroups import own_free_memory_bytes

_TORCH_BYTES: Final = 1 << 29  # of torch, transformers and their workspaces
_VALUE_BYTES: Final = 4  # float32


def needed_bytes(decoder: Decoder, view: CheckpointView, tokens: int) -> int:
    """The largest moment: a layer, or a vocabulary of both sides, with the logits of `tokens` positions."""
    shapes = decoder.weight_shapes()
    layer = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith("model.layers.0."))
    vocabulary = decoder.vocab_size * decoder.hidden_size
    activations = tokens * (4 * decoder.vocab_size + 16 * decoder.hidden_size + 8 * decoder.active_size)
    largest_source = max(tensor.nbytes for tensor in view.weights.values())
    return _TORCH_BYTES + _VALUE_BYTES * (2 * max(layer, vocabulary) + activations) + largest_source


def available_bytes() -> int:
    """Memory that a process can still get here: of the machine, or of its cgroup if that is less."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    table = Path("/proc/meminfo")
    lines = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), pages)
    allowed = own_free_memory_bytes()
    return free if allowed is None else min(free, allowed)


def check_memory(decoder: Decoder, view: CheckpointView, tokens: int) -> None:
    """Raises: BuildError: what a verification needs is more than what is free."""
    needed, available = needed_bytes(decoder, view, tokens), available_bytes()
    if needed > available:
        raise BuildError(
            f"{view.source}: --verify needs about {needed / 1e9:.1f} GB of memory; {available / 1e9:.1f} GB are free"
        )
