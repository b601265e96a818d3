"""Writes a checkpoint of any architecture as a GGUF file: the values that llama.cpp's converter writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file

from tests.build_scripts.weights.gguf.architectures.layout import Arrays, Config, first, stored
from tests.build_scripts.weights.gguf.architectures.values import LLAMA3, SIZES, Case
from tests.build_scripts.weights.gguf.gguf_checkpoints import add_byte_level

# llama.cpp's key -> the names that HuggingFace's configurations have for it.
_NAMES = {
    "block_count": ("num_hidden_layers", "n_layer", "n_layers"),
    "context_length": ("max_position_embeddings", "n_positions", "max_seq_len"),
    "embedding_length": ("hidden_size", "n_embd", "d_model"),
    "feed_forward_length": ("intermediate_size",),
    "attention.head_count": ("num_attention_heads", "n_head", "n_heads"),
    "attention.head_count_kv": ("num_kv_heads", "num_key_value_heads"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.key_length": ("head_dim",),
    "attention.sliding_window": ("sliding_window",),
    "attention.scale": ("attention_multiplier",),
    "attention.kv_lora_rank": ("kv_lora_rank",),
    "attention.q_lora_rank": ("q_lora_rank",),
    "embedding_length_per_layer_input": ("hidden_size_per_layer_input",),
    "embedding_scale": ("embedding_multiplier",),
    "residual_scale": ("residual_multiplier",),
    "logit_scale": ("logits_scaling", "logit_scale"),
    "use_parallel_residual": ("use_parallel_residual",),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
    "expert_used_count": ("num_experts_per_tok", "moe_k", "moe_topk", "top_k_experts"),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size", "shared_intermediate_size"),
    "expert_shared_count": ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
    "expert_group_count": ("n_group",),
    "expert_group_used_count": ("topk_group",),
    "expert_weights_scale": ("routed_scaling_factor", "route_scale"),
    "expert_weights_norm": ("norm_topk_prob",),
    "leading_dense_block_count": ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"),
}
_SCALING = {
    "factor": "factor",
    "original_max_position_embeddings": "original_context_length",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}


def write(
    path: Path,
    checkpoint: Path,
    case: Case,
    change: Callable[[Arrays], Arrays] = dict,
    quantized: Mapping[str, str] | None = None,
) -> None:
    """Of the case's keys None removes one. `change` is done to the tensors; those whose names end in a key of
    `quantized` are stored in its type."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(path, case.architecture)
    weights = load_file(checkpoint / "model.safetensors")
    values = {**_common(config), **_scaling(config, case.architecture), **case.keys}
    adders: dict[type, Callable[[str, Any], None]] = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        str: writer.add_string,
        list: writer.add_array,
    }
    for key, value in values.items():
        if value is None:
            continue
        adders[type(value)](f"{case.architecture}.{key}", value)
    for name in ("alpha_p", "alpha_n", "beta", "eps"):
        numbers = [float(value) for key, value in weights.items() if key.endswith(f"act_fn.{name}")]
        if numbers:
            writer.add_array(f"xielu.{name}", numbers)
    add_byte_level(writer)
    for name, array in change({**stored(weights, case.architecture, config), **_tables(config)}).items():
        kind = next((kind for end, kind in (quantized or {}).items() if name.endswith(end)), "F32")
        used = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, gguf.quantize(array, used), raw_dtype=used)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _common(config: Config) -> dict[str, Any]:
    rope = config.get("rope_parameters") or {}
    given = {key: first(config, names) for key, names in _NAMES.items()}
    heads, hidden = given["attention.head_count"], given["embedding_length"]
    found = {
        "feed_forward_length": 4 * hidden,
        "context_length": 256,
        "attention.layer_norm_epsilon": 1e-5,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.head_count_kv": heads,
        "rope.freq_base": rope.get("rope_theta", 10000.0),
        **{key: value[0] if isinstance(value, list) else value for key, value in given.items() if value is not None},
    }
    if "partial_rotary_factor" in rope:
        found["rope.dimension_count"] = int(rope["partial_rotary_factor"] * config.get("head_dim", hidden // heads))
    if "kv_lora_rank" in config:
        rotated, latent = config["qk_rope_head_dim"], config["kv_lora_rank"]
        found |= {
            "rope.dimension_count": rotated,
            "attention.head_count_kv": 1,
            "attention.key_length": latent + rotated,
            "attention.value_length": latent,
            "attention.key_length_mla": config["qk_nope_head_dim"] + rotated,
            "attention.value_length_mla": config["v_head_dim"],
        }
    return found


def _scaling(config: Config, architecture: str) -> dict[str, Any]:
    rope = config.get("rope_parameters") or {}
    kind = rope.get("rope_type")
    if kind not in {"linear", "yarn"}:
        return {}
    found = {f"rope.scaling.{key}": rope[name] for name, key in _SCALING.items() if name in rope}
    if scale := rope.get("mscale_all_dim"):
        found["rope.scaling.yarn_log_multiplier"] = 0.1 * scale if architecture == "deepseek2" else scale
    if beta := rope.get("llama_4_scaling_beta"):
        found["attention.temperature_scale"] = beta
    return {"rope.scaling.type": kind, **found}


def _tables(config: Config) -> Arrays:
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type") == "llama3":
        return {"rope_freqs.weight": _llama3_table(rope["rope_theta"], config.get("head_dim") or 8)}
    if "global_head_dim" in config:  # heads that are rotated in part
        size = config["global_head_dim"]
        rotated = int(size * rope["full_attention"]["partial_rotary_factor"] / 2)
        return {"rope_freqs.weight": np.array([1.0] * rotated + [1e30] * (size // 2 - rotated), np.float32)}
    if "long_factor" in rope:
        names = (("long", "long_factor"), ("short", "short_factor"))
        return {f"rope_factors_{name}.weight": np.array(rope[key], np.float32) for name, key in names}
    return {}


def _llama3_table(theta: float, head_size: int) -> np.ndarray[Any, Any]:
    """What the converter makes of Llama 3's parameters, by transformers' own formula."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config_class: Any = transformers.LlamaConfig
    config = config_class(**{**SIZES, "head_dim": head_size, "rope_parameters": {**LLAMA3, "rope_theta": theta}})
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1.0 / theta ** (torch.arange(0, head_size, 2).float() / head_size)
    return (plain / scaled).numpy()
