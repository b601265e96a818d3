"""Qwen3: no biases, and an RMS norm over each head of q and k.

A compiled engine has an epsilon of 1e-5 in that norm, whatever the model's is (1e-6): TensorRT-LLM's models hand it
none. `--verify` computes with the model's, as transformers does: it shows what is wrong in the shards alone.
"""

from __future__ import annotations

from typing import Any

from build_scripts.architectures.config_values import ConfigValues


def traits(config: ConfigValues) -> dict[str, Any]:
    if config.flag("use_sliding_window"):
        raise config.error("use_sliding_window", "allowed: false (windows by layer are not converted)")
    if config.flag("attention_bias"):
        raise config.error("attention_bias", "allowed: false (TensorRT-LLM's Qwen3 has no attention bias)")
    return {"qk_norm": True}
