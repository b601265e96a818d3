"""Llama 2, 3 and 3.x: `attention_bias` and `mlp_bias` stand for every projection of their block."""

from __future__ import annotations

from typing import Any

from build_scripts.architectures.config_values import ConfigValues


def traits(config: ConfigValues) -> dict[str, Any]:
    config.activation("hidden_act", "silu", "silu")
    attention_bias = config.flag("attention_bias")
    return {"qkv_bias": attention_bias, "dense_bias": attention_bias, "mlp_bias": config.flag("mlp_bias")}
