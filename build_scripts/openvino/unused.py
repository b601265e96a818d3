"""Weights of a checkpoint that its model has no place for: which of them change what it computes.

Scales of quantized weights, biases and norms that the configuration does not speak of belong to parts that the model
has. Heads of other tasks, layers that only predict further tokens and encoders of images stand beside it.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final

# What old checkpoints carry along, masks and tables that are computed, or the number of their format; and the scales of
# a quantized KV cache, which say nothing of the weights.
_NO_WEIGHT: Final = re.compile(
    r"(rotary_emb\.\w+|inv_freq|embed_positions\.weights|position_ids"
    r"|masked_bias|attn\.bias|attention\.bias|causal_mask"
    r"|(en|de)coder\.version|\.(k|v|kv)_scale)$"
)
_IN_A_LAYER: Final = re.compile(r"\.\d+(\.|$)")


def changes_a_part(name: str, modules: Set[str]) -> bool:
    """Whether the weight `name` belongs to one of the model's `modules`: to one that has weights, or to a layer."""
    if _NO_WEIGHT.search(name):
        return False
    owner = name.rpartition(".")[0]
    part = owner
    while part and part not in modules:
        part = part.rpartition(".")[0]
    return bool(part) and (part == owner or _IN_A_LAYER.search(part) is not None)
