"""Small HuggingFace checkpoints of every family that is sharded: by transformers, or as plain random tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "nemotron": "NemotronForCausalLM",
    "granite": "GraniteForCausalLM",
}
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SIZES: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "num_experts": 8}
_PADDING: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}  # within the small vocabulary
_GEMMA: dict[str, Any] = {
    "head_dim": 12,
    "query_pre_attn_scalar": 7,
    "sliding_window": 64,
    "tie_word_embeddings": True,
}
_FACTORS: dict[str, Any] = {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.3,
    "residual_multiplier": 0.7,
    "logits_scaling": 2.0,
}
_OWN: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": None},
    "mixtral": {"num_local_experts": 4},
    "qwen2_moe": {**_EXPERTS, "shared_expert_intermediate_size": 24},
    "qwen3": {"head_dim": 12},
    "qwen3_moe": {**_EXPERTS, "head_dim": 12, "norm_topk_prob": True},
    "gemma": {"head_dim": 12, "tie_word_embeddings": True},
    "gemma2": _GEMMA,
    "gemma3_text": {**_GEMMA, "sliding_window_pattern": 2},
    "phi3": _PADDING,
    "nemotron": {"head_dim": 12, **_PADDING},
    "granite": _FACTORS,
}


# Families whose shards hold the checkpoint's own values, matrix by matrix.
PLAIN_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


def odd_config(shape: Mapping[str, Any], hidden_size: int) -> dict[str, Any]:
    """`config.json` of a model of a drawn shape."""
    family = shape["family"]
    kv = min(shape["kv"], shape["heads"] // 2)  # a norm of heads wants fewer kv heads than heads
    config: dict[str, Any] = {
        "architectures": [ARCHITECTURES[family]],
        "hidden_size": hidden_size,
        "intermediate_size": shape["inner"],
        "num_attention_heads": shape["heads"],
        "num_key_value_heads": kv,
        "head_dim": shape["head_size"],
        "num_hidden_layers": shape["layers"],
        "vocab_size": shape["vocabulary"],
        "tie_word_embeddings": shape["tied"],
        "sliding_window": None,
        "pad_token_id": 0,
        **({} if family in PLAIN_FAMILIES else _OWN[family]),
    }
    config["head_dim"] = shape["head_size"]
    if family == "phi3":  # whose heads are even shares of the hidden size
        config["hidden_size"] = shape["heads"] * shape["head_size"]
    if family == "nemotron":  # which turns half of a head, in pairs
        config["head_dim"] *= 2
    if family.endswith("_moe"):
        config["moe_intermediate_size"] = shape["inner"]
    if family == "gemma3_text":
        config["rope_theta"] = 1e6
    if family == "llama":
        config |= {"attention_bias": shape["bias"], "mlp_bias": shape["bias"]}
    return config


def make_checkpoint(directory: Path, family: str = "llama", dtype: str = "float32", **config: Any) -> Path:
    """A checkpoint of random weights that transformers writes; `config` overrides SIZES."""
    import transformers

    torch.manual_seed(7)
    architecture = ARCHITECTURES[family]
    config_class = getattr(transformers, architecture).config_class
    own = _OWN.get(family, {})
    values = config_class(**{**SIZES, **own, "initializer_range": 0.2, **config})
    model = getattr(transformers, architecture)(values)
    with torch.no_grad():  # transformers starts biases at zero and norms at one, which would hide a mistake
        for name, weight in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                weight.copy_(torch.rand_like(weight) + 0.5)
    model.to(getattr(torch, dtype)).save_pretrained(directory)
    return directory


def write_plain(directory: Path, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Path:
    """A checkpoint of these weights, which safetensors itself writes."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file({name: weight.contiguous() for name, weight in weights.items()}, directory / "model.safetensors")
    return directory
