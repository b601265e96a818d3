"""`config.json` of each architecture: the common values of model.py, and what is the family's own."""

from __future__ import annotations

from typing import Any

from build_scripts.weights.gguf.model import Model


def llama(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "attention_bias": model.has("attn_q.bias"), "mlp_bias": model.has("ffn_up.bias")}


def qwen2(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "use_sliding_window": False}


def qwen3(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "attention_bias": False, "use_sliding_window": False}
