"""Mistral and Mixtral: Llama without biases; the first releases look back over a sliding window.

Mixtral's experts are w1 (gate), w3 (up) and w2 (down), and the weights of the two that it chooses sum to 1.
"""

from __future__ import annotations

from typing import Any, Final

from build_scripts.architectures.config_values import ConfigValues
from build_scripts.architectures.experts import expert_counts
from build_scripts.architectures.rope import read_rope
from build_scripts.architectures.values import Experts, Rope

_DEFAULT_WINDOW: Final = 4096  # what transformers assumes where the key is absent; null is no window
_MIXTRAL_THETA: Final = 1e6  # likewise


def traits(config: ConfigValues) -> dict[str, Any]:
    config.activation("hidden_act", "silu", "silu")
    if "sliding_window" in config.values and config.values["sliding_window"] is None:
        return {}
    return {"sliding_window": config.count("sliding_window", _DEFAULT_WINDOW)}


def mixtral_traits(config: ConfigValues) -> dict[str, Any]:
    config.activation("hidden_act", "silu", "silu")
    count, per_token = expert_counts(config, "num_local_experts", 8, 2)
    experts = Experts(
        count,
        per_token,
        size=config.count("intermediate_size"),
        renormalize=True,
        block="block_sparse_moe",
        gate="w1",
        up="w3",
        down="w2",
    )
    given = config.values.get("sliding_window") is not None
    window = {"sliding_window": config.count("sliding_window")} if given else {}
    return {"experts": experts, **window}


def mixtral_rope(config: ConfigValues) -> Rope:
    return read_rope(config, theta=_MIXTRAL_THETA)
