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
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
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
_OWN: dict[str, dict[str, Any]] = {"mistral": {"sliding_window": None}, "qwen3": {"head_dim": 12}}


def odd_config(shape: Mapping[str, Any], hidden_size: int) -> dict[str, Any]:
    """`config.json` of a model of a drawn shape."""
    config = {
        "architectures": [ARCHITECTURES[shape["family"]]],
        "hidden_size": hidden_size,
        "intermediate_size": shape["inner"],
        "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv"],
        "head_dim": shape["head_size"],
        "num_hidden_layers": shape["layers"],
        "vocab_size": shape["vocabulary"],
        "tie_word_embeddings": shape["tied"],
        "sliding_window": None,
    }
    if shape["family"] == "llama":
        config |= {"attention_bias": shape["bias"], "mlp_bias": shape["bias"]}
    return config


def make_checkpoint(directory: Path, family: str = "llama", dtype: str = "float32", **config: Any) -> Path:
    """A checkpoint of random weights that transformers writes; `config` overrides SIZES."""
    import transformers

    torch.manual_seed(7)
    architecture = ARCHITECTURES[family]
    config_class = getattr(transformers, architecture.replace("ForCausalLM", "Config"))
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
