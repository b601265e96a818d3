"""Qwen2 (and 2.5): biases on q, k and v, and on nothing else. Qwen3: no biases, and an RMS norm over each head of q
and k. The mixtures of both have experts of their own size, and Qwen2's one more that computes every token.

A window counts only where it is switched on. A compiled engine has an epsilon of 1e-5 in the norm of heads, whatever
the model's is (1e-6): TensorRT-LLM's models hand it none. `--verify` computes with the model's, as transformers does:
it shows what is wrong in the shards alone.
"""

from __future__ import annotations

from typing import Any

from build_scripts.architectures.config_values import ConfigValues
from build_scripts.architectures.experts import expert_counts
from build_scripts.architectures.values import Experts


def qwen2_traits(config: ConfigValues) -> dict[str, Any]:
    _check(config)
    return {"qkv_bias": True}


def qwen3_traits(config: ConfigValues) -> dict[str, Any]:
    _check(config)
    config.must_be_off("attention_bias", "TensorRT-LLM's Qwen3 has no attention bias")
    return {"qk_norm": True}


def qwen2_moe_traits(config: ConfigValues) -> dict[str, Any]:
    shared = config.count("shared_expert_intermediate_size", 5632)
    if not config.flag("qkv_bias", default=True):
        raise config.not_compiled("qkv_bias", "allowed: true (TensorRT-LLM's Qwen2 has the bias)")
    return {**qwen2_traits(config), "experts": _experts(config, 60, 4, 1408, shared)}


def qwen3_moe_traits(config: ConfigValues) -> dict[str, Any]:
    return {**qwen3_traits(config), "experts": _experts(config, 128, 8, 768, 0)}


def _check(config: ConfigValues) -> None:
    config.activation("hidden_act", "silu", "silu")
    config.must_be_off("use_sliding_window", "windows by layer are not converted")


def _experts(config: ConfigValues, count: int, per_token: int, size: int, shared_size: int) -> Experts:
    """The numbers are what transformers assumes. Compiled models have experts in every layer (qwen/model.py)."""
    if config.values.get("mlp_only_layers") not in (None, []):
        raise config.not_compiled("mlp_only_layers", "must be empty: every layer has experts")
    if config.count("decoder_sparse_step", 1) != 1:
        raise config.not_compiled("decoder_sparse_step", "must be 1: every layer has experts")
    key = "num_experts" if config.values.get("num_local_experts") is None else "num_local_experts"
    key = "num_experts" if config.values.get("num_experts") is not None else key
    return Experts(
        *expert_counts(config, key, count, per_token),
        size=config.count("moe_intermediate_size", size),
        renormalize=config.flag("norm_topk_prob"),
        shared_size=shared_size,
    )
