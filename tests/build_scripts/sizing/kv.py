"""What a token keeps in the KV cache, from `config.json` by formulas written down a second time: none of Conch's code.

Grouped heads keep 2 × kv heads × head size in each layer that attends; low-rank attention (DeepSeek, Kimi, GLM 5) one
vector and one rotary key, and its sparse kind a small key beside them; layers of Mamba or linear attention nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The decoder of text in the configuration of a model that sees or hears too."""
    text = config.get("text_config")
    return text if isinstance(text, Mapping) else config


def kv_values_per_token(config: Mapping[str, Any]) -> int | None:
    """Values over all layers, as if none had a window; None where the layers are of no kind that is known here."""
    text = text_of(config)
    if text.get("compress_ratios") or text.get("block_configs"):
        return None
    if rank := text.get("kv_lora_rank"):
        layers = int(text["num_hidden_layers"])
        sparse = [kind != "shared" for kind in text.get("indexer_types") or [True] * layers][:layers]
        return int(layers * (rank + text["qk_rope_head_dim"]) + sum(sparse) * (text.get("index_head_dim") or 0))
    heads = text["num_attention_heads"]
    size = text.get("head_dim") or text["hidden_size"] // heads
    kv_heads = text.get("num_key_value_heads") or heads
    return int(_attending_layers(text) * kv_heads * (size + (text.get("v_head_dim") or size)))


def _attending_layers(text: Mapping[str, Any]) -> int:
    pattern, layers = text.get("hybrid_override_pattern"), text.get("num_hidden_layers")
    if isinstance(pattern, str):
        return pattern.count("*")
    if isinstance(text.get("layers_block_type"), list):
        return sum(kind == "attention" for kind in text["layers_block_type"])
    if isinstance(text.get("layer_types"), list):
        return sum("linear" not in kind and "mamba" not in kind for kind in text["layer_types"][:layers])
    every = text.get("full_attention_interval")
    return int(layers or 0) // int(every) if every and text.get("linear_num_value_heads") else int(layers or 0)
