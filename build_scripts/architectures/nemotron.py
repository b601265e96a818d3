"""Nemotron 3 and 4, Minitron: layer norms that multiply by 1 + w, the square of ReLU without a gate, and a rotary
embedding of half of each head. (TensorRT-LLM: models/gpt/{config,convert,model}.py, `gpt_variant` nemotron.)"""

from __future__ import annotations

from typing import Any, Final

from build_scripts.architectures.config_values import ConfigValues
from build_scripts.architectures.rope import read_rope
from build_scripts.architectures.values import Rope

_FRACTION: Final = 0.5  # where the configuration is silent


def traits(config: ConfigValues) -> dict[str, Any]:
    config.activation("hidden_act", "relu2", "relu2")
    for key in ("attention_bias", "mlp_bias"):
        config.must_be_off(key, "TensorRT-LLM's Nemotron has no biases")
    return {"hidden_act": "relu2", "gated": False}


def rope(config: ConfigValues) -> Rope:
    """Old configurations call the fraction `rope_percent`."""
    fraction = config.number("rope_percent", _FRACTION)
    if fraction > 1:
        raise config.error("rope_percent", "must be a number > 0 and ≤ 1")
    return read_rope(config, {}, fraction=fraction)
