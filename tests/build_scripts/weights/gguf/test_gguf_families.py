"""The other architectures: random models of transformers, stored as llama.cpp stores them, compute the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from build_scripts.source.convert import convert
from build_scripts.weights.gguf.families import FAMILIES
from tests.build_scripts.weights.gguf.gguf_checkpoints import add_byte_level, byte_level_tokens, permute

SIZES: dict[str, Any] = {
    "vocab_size": len(byte_level_tokens()),
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
EXPERTS = {"num_experts_per_tok": 2}
DEFAULT: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.25],
    "long_factor": [1.5, 2.0],
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.5,
    "original_max_position_embeddings": 128,
}
# Case -> llama.cpp's architecture, transformers' class, its own values, llama.cpp's keys.
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "llama with Llama 3's rope": ("llama", "Llama", {"rope_parameters": LLAMA3, "head_dim": 64}, {}),
    "llama with linear rope": (
        "llama",
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    ),
    "qwen2 with yarn": (
        "qwen2",
        "Qwen2",
        {"rope_parameters": {**LLAMA3, "rope_type": "yarn", "original_max_position_embeddings": 64}},
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 64},
    ),
    "mixtral": (
        "llama",
        "Mixtral",
        {**EXPERTS, "num_local_experts": 4, "sliding_window": None},
        {"expert_count": 4, "expert_used_count": 2},
    ),
    "qwen2moe": (
        "qwen2moe",
        "Qwen2Moe",
        {**EXPERTS, "num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 64},
        {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32},
    ),
    "qwen3moe": (
        "qwen3moe",
        "Qwen3Moe",
        {**EXPERTS, "num_experts": 4, "moe_intermediate_size": 32, "head_dim": 16, "norm_topk_prob": True},
        {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32},
    ),
    "gemma": ("gemma", "Gemma", {"head_dim": 16}, {}),
    "gemma2": (
        "gemma2",
        "Gemma2",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32},
        {"attention.sliding_window": 32, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    "gemma3": (
        "gemma3",
        "Gemma3",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32},
        {"attention.sliding_window": 32, "rope.freq_base": 1e6},
    ),
    "phi3": ("phi3", "Phi3", {}, {}),
    "phi3 with long rope": (
        "phi3",
        "Phi3",
        {"rope_parameters": LONG, "original_max_position_embeddings": 128},
        {"rope.scaling.original_context_length": 128, "rope.dimension_count": 4},
    ),
    "granite": (
        "granite",
        "Granite",
        {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.25, "logits_scaling": 4.0},
        {"embedding_scale": 3.0, "residual_scale": 0.5, "attention.scale": 0.25, "logit_scale": 4.0},
    ),
    "smollm3": ("smollm3", "SmolLM3", {}, {"rope.freq_base": 2e6}),
    "olmo2": ("olmo2", "Olmo2", {}, {}),
    "olmo3": (
        "olmo2",
        "Olmo3",
        {"sliding_window": 32},
        {"attention.sliding_window": 32, "attention.sliding_window_pattern": [True, True, True, False, True, True]},
    ),
    "stablelm": (
        "stablelm",
        "StableLm",
        {"use_qkv_bias": True},
        {"use_parallel_residual": False, "rope.dimension_count": 2},
    ),
    "starcoder2": ("starcoder2", "Starcoder2", {}, {}),
    "command-r": ("command-r", "Cohere", {"logit_scale": 0.125}, {"logit_scale": 0.125, "rope.freq_base": 5e5}),
    "glm4": (
        "glm4",
        "Glm4",
        {"head_dim": 16, "attention_bias": True, "rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}},
        {"rope.dimension_count": 8},
    ),
    "exaone4": (
        "exaone4",
        "Exaone4",
        {"sliding_window": 32, "sliding_window_pattern": 4},
        {"attention.sliding_window": 32, "attention.sliding_window_pattern": 4},
    ),
    "exaone4 without windows": (
        "exaone4",
        "Exaone4",
        {"sliding_window": None, "layer_types": ["full_attention"] * 6},
        {},
    ),
    "ernie4_5": ("ernie4_5", "Ernie4_5", {}, {"rope.freq_base": 5e5}),
    "seed_oss": ("seed_oss", "SeedOss", {"head_dim": 16, "attention_bias": True, "attention_out_bias": False}, {}),
    "arcee": ("arcee", "Arcee", {}, {}),
    "nemotron": (
        "nemotron",
        "Nemotron",
        {"rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}},
        {"rope.dimension_count": 4},
    ),
    "olmo": ("olmo", "Olmo", {"clip_qkv": 2.0}, {"attention.clamp_kqv": 2.0}),
    "phi2": (
        "phi2",
        "Phi",
        {"num_key_value_heads": 8, "rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}},
        {"rope.dimension_count": 4},
    ),
    "cohere2": (
        "cohere2",
        "Cohere2",
        {"sliding_window": 32, "logit_scale": 0.125},
        {"attention.sliding_window": 32, "logit_scale": 0.125},
    ),
    "starcoder": ("starcoder", "GPTBigCode", {"n_inner": 96}, {"attention.head_count_kv": 1}),
    "gpt2": ("gpt2", "GPT2", {"n_inner": 96}, {}),
}
PERMUTED = ("llama", "granite", "smollm3", "arcee", "olmo")


def model_of(kind: str, own: Mapping[str, Any]) -> Any:
    torch.manual_seed(7)
    config_class = getattr(transformers, f"{kind}TextConfig" if kind == "Gemma3" else f"{kind}Config")
    values = config_class(**{**SIZES, **own})
    model: Any = transformers.AutoModelForCausalLM.from_config(values, attn_implementation="eager")
    with torch.no_grad():  # transformers starts biases at zero and norms at one, which would hide a mistake
        for name, weight in model.named_parameters():
            if name.endswith("bias") or "norm" in name or ".ln_" in name:
                weight.copy_(torch.rand_like(weight) + 0.5)
    return model.float().eval()


def stored(weights: Mapping[str, torch.Tensor], architecture: str) -> dict[str, np.ndarray[Any, Any]]:
    """The weights of a saved checkpoint under llama.cpp's names and in its layout."""
    kind = next(kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, SIZES["num_hidden_layers"])
    experts: dict[str, dict[int, torch.Tensor]] = {}
    found = {}
    for name, weight in weights.items():
        before, _, after = name.partition(".experts.")
        if after:
            expert, _, part = after.partition(".")
            prefix = before.replace("block_sparse_moe", "feed_forward").replace("model.layers", "layers")
            merged = f"{prefix if 'feed_forward' in prefix else before}.experts.{part}"
            experts.setdefault(merged, {})[int(expert)] = weight
            continue
        renamed = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert renamed is not None, name
        found[renamed] = laid_out(name, weight, architecture).squeeze(0 if "shared_expert_gate" in name else ()).numpy()
    for merged, parts in experts.items():
        renamed = names.get_name(merged, try_suffixes=(".weight",))
        assert renamed is not None, merged
        found[renamed] = torch.stack([parts[expert] for expert in sorted(parts)]).numpy()
    return found


def laid_out(name: str, weight: torch.Tensor, architecture: str) -> torch.Tensor:
    if architecture in PERMUTED and ("q_proj" in name or "k_proj" in name):
        return permute(weight, SIZES["num_attention_heads" if "q_proj" in name else "num_key_value_heads"])
    if architecture.startswith(("gemma", "nemotron")) and name.endswith("norm.weight"):
        return weight + 1
    if architecture == "gpt2" and weight.dim() == 2 and ".h." in name:
        return weight.T.contiguous()
    return weight


def write(path: Path, checkpoint: Path, architecture: str, own: Mapping[str, Any]) -> None:
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(path, architecture)
    theta = (config.get("rope_parameters") or {}).get("rope_theta", 10000.0)
    common = {
        "context_length": 256,
        "embedding_length": 64,
        "block_count": config.get("num_hidden_layers", config.get("n_layer")),
        "feed_forward_length": config.get("intermediate_size", 4 * 64),
        "attention.head_count": 8,
        "attention.head_count_kv": config.get("num_key_value_heads", 8),
        "attention.layer_norm_rms_epsilon": config.get("rms_norm_eps", 1e-6),
        "attention.layer_norm_epsilon": 1e-5,
        "rope.freq_base": theta,
        **({"attention.key_length": config["head_dim"]} if config.get("head_dim") else {}),
        **own,
    }
    for key, value in common.items():
        adders: dict[type, Callable[[str, Any], None]] = {
            bool: writer.add_bool,
            int: writer.add_uint32,
            float: writer.add_float32,
            str: writer.add_string,
            list: writer.add_array,
        }
        adders[type(value)](f"{architecture}.{key}", value)
    add_byte_level(writer)
    arrays = stored(load_file(checkpoint / "model.safetensors"), architecture)
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type") == "llama3":
        arrays["rope_freqs.weight"] = llama3_table(theta, config["head_dim"])
    if "long_factor" in rope:
        arrays["rope_factors_long.weight"] = np.array(rope["long_factor"], np.float32)
        arrays["rope_factors_short.weight"] = np.array(rope["short_factor"], np.float32)
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama3_table(theta: float, head_size: int) -> np.ndarray[Any, Any]:
    """What the converter makes of Llama 3's parameters, by transformers' own formula."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config_class: Any = transformers.LlamaConfig
    config = config_class(**{**SIZES, "head_dim": head_size, "rope_parameters": {**LLAMA3, "rope_theta": theta}})
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1.0 / theta ** (torch.arange(0, head_size, 2).float() / head_size)
    return (plain / scaled).numpy()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # GPTBigCode's own
@pytest.mark.parametrize("case", CASES)
def test_a_model_of_every_architecture_computes_the_same(tmp_path: Path, case: str) -> None:
    architecture, kind, values, keys = CASES[case]
    model = model_of(kind, values)
    model.save_pretrained(tmp_path / "original")
    write(tmp_path / "x.gguf", tmp_path / "original", architecture, keys)
    convert("hf", str(tmp_path / "x.gguf"), tmp_path / "hf")
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "hf", dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    found, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ids = torch.randint(3, SIZES["vocab_size"], (1, 80))
    with torch.no_grad():
        expected, logits = model(ids).logits, found.eval()(ids).logits
    assert expected.abs().max() > 0.3
    assert (logits - expected).abs().max() < 1e-4


def test_every_architecture_is_tried() -> None:
    assert {architecture for architecture, *_ in CASES.values()} | {"qwen3"} == set(FAMILIES)
