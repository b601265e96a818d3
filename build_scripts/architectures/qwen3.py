"""Qwen3: no biases, and an RMS norm over each head of q and k."""

from __future__ import annotations

from typing import Any

from build_scripts.architectures.config_values import ConfigValues


def traits(config: ConfigValues) -> dict[str, Any]:
    if config.flag("use_sliding_window"):
        raise config.error("use_sliding_window", "allowed: false (windows by layer are not converted)")
    if config.flag("attention_bias"):
        raise config.error("attention_bias", "allowed: false (TensorRT-LLM's Qwen3 has no attention bias)")
    return {"qk_norm": True}
