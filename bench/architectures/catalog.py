"""The architectures that are tried on the CPU engine, each as a small configuration of transformers.

Two layers of 64 hidden values suffice: what goes wrong (a mask, a window, a position, an expert) goes wrong in any
size. Windows are shorter than the prompts, so that these leave them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_PLAIN: Final[Mapping[str, Any]] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
_GROUPED: Final[Mapping[str, Any]] = {**_PLAIN, "num_key_value_heads": 2}
_WIDE: Final[Mapping[str, Any]] = {**_GROUPED, "head_dim": 32}
_NARROW: Final[Mapping[str, Any]] = {**_GROUPED, "head_dim": 16}
_GPT: Final[Mapping[str, Any]] = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512}
_ALTERNATING: Final[Mapping[str, Any]] = {
    "sliding_window": 24,
    "layer_types": ["sliding_attention", "full_attention"],
}
_EXPERTS: Final[Mapping[str, Any]] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
_ROUTED: Final[Mapping[str, Any]] = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
}
_LATENT: Final[Mapping[str, Any]] = {
    **_PLAIN,
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
_FALCON: Final[Mapping[str, Any]] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_HYBRID: Final[Mapping[str, Any]] = {
    **_GROUPED,
    "position_embedding_type": "rope",
    "mamba_n_heads": 4,
    "mamba_d_head": 32,
    "mamba_d_state": 16,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
}


def _rope(rope_type: str, **values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": rope_type, "rope_theta": 10000.0, **values}}


@dataclass(frozen=True, slots=True)
class Architecture:
    """`config` is the name of transformers' class without `Config`; `values` are what it is made with."""

    name: str
    config: str
    values: Mapping[str, Any] = field(default_factory=dict)


_LLAMA3: Final = _rope(
    "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128
)
_LONGROPE: Final = _rope(
    "longrope", original_max_position_embeddings=128, short_factor=[1.0] * 8, long_factor=[2.0] * 8
)
_YARN: Final = _rope("yarn", factor=4.0, original_max_position_embeddings=128)

ARCHITECTURES: Final = (
    Architecture("llama", "Llama", _GROUPED),
    Architecture("llama, every head its own", "Llama", _PLAIN),
    Architecture("llama, tied, llama3 rope", "Llama", {**_GROUPED, **_LLAMA3, "tie_word_embeddings": True}),
    Architecture("llama, yarn rope", "Llama", {**_GROUPED, **_YARN}),
    Architecture("llama, linear rope", "Llama", {**_GROUPED, **_rope("linear", factor=4.0)}),
    Architecture("llama, dynamic rope", "Llama", {**_GROUPED, **_rope("dynamic", factor=4.0)}),
    Architecture("llama, biases", "Llama", {**_GROUPED, "attention_bias": True, "mlp_bias": True}),
    Architecture("mistral, wide heads", "Mistral", {**_WIDE, "sliding_window": None}),
    Architecture("mistral, window", "Mistral", {**_GROUPED, "sliding_window": 24}),
    Architecture("mixtral", "Mixtral", {**_GROUPED, "num_local_experts": 4, "sliding_window": None}),
    Architecture("qwen2", "Qwen2", _GROUPED),
    Architecture(
        "qwen2, window", "Qwen2", {**_GROUPED, "use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1}
    ),
    Architecture("qwen2 moe", "Qwen2Moe", {**_GROUPED, **_EXPERTS, "shared_expert_intermediate_size": 48}),
    Architecture("qwen3", "Qwen3", _WIDE),
    Architecture(
        "qwen3, window", "Qwen3", {**_WIDE, "use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1}
    ),
    Architecture("qwen3 moe", "Qwen3Moe", {**_WIDE, **_EXPERTS}),
    Architecture("phi", "Phi", _PLAIN),
    Architecture("phi, grouped heads", "Phi", _GROUPED),
    Architecture("phi3", "Phi3", {**_GROUPED, "sliding_window": None}),
    Architecture("phi3, window", "Phi3", {**_GROUPED, "sliding_window": 24}),
    Architecture(
        "phi3, longrope",
        "Phi3",
        {**_GROUPED, **_LONGROPE, "sliding_window": None, "original_max_position_embeddings": 128},
    ),
    Architecture("phi3.5 moe", "Phimoe", {**_GROUPED, "num_local_experts": 4, "sliding_window": None}),
    Architecture(
        "phi4 mini",
        "Phi3",
        {
            **_GROUPED,
            **_rope("default", partial_rotary_factor=0.75),
            "sliding_window": None,
            "tie_word_embeddings": True,
        },
    ),
    Architecture("gpt2", "GPT2", _GPT),
    Architecture("gpt bigcode", "GPTBigCode", {**_GPT, "n_inner": 128}),
    Architecture("gpt-j", "GPTJ", {**_GPT, "rotary_dim": 8}),
    Architecture("codegen", "CodeGen", {**_GPT, "rotary_dim": 8}),
    Architecture(
        "opt",
        "OPT",
        {
            "hidden_size": 64,
            "word_embed_proj_dim": 64,
            "ffn_dim": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 512,
            "init_std": 0.35,
        },
    ),
    Architecture("bloom", "Bloom", {"hidden_size": 64, "n_layer": 2, "n_head": 4}),
    Architecture("biogpt", "BioGpt", _PLAIN),
    Architecture("falcon", "Falcon", {**_FALCON, "multi_query": True, "alibi": False}),
    Architecture(
        "falcon, grouped heads",
        "Falcon",
        {**_FALCON, "num_kv_heads": 2, "new_decoder_architecture": True, "alibi": False},
    ),
    Architecture(
        "falcon, alibi",
        "Falcon",
        {**_FALCON, "multi_query": False, "alibi": True, "parallel_attn": False, "bias": True},
    ),
    Architecture("gpt-neox", "GPTNeoX", _PLAIN),
    Architecture(
        "gpt-neo",
        "GPTNeo",
        {
            "hidden_size": 64,
            "num_layers": 2,
            "num_heads": 4,
            "max_position_embeddings": 512,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 16,
        },
    ),
    Architecture("mpt", "Mpt", {"d_model": 64, "n_heads": 4, "n_layers": 2, "max_seq_len": 512}),
    Architecture("stablelm", "StableLm", _GROUPED),
    Architecture("stablelm, parallel", "StableLm", {**_GROUPED, "qk_layernorm": True, "use_parallel_residual": True}),
    Architecture("starcoder2", "Starcoder2", {**_GROUPED, "sliding_window": None}),
    Architecture("starcoder2, window", "Starcoder2", {**_GROUPED, "sliding_window": 24}),
    Architecture("olmo", "Olmo", _GROUPED),
    Architecture("olmo2", "Olmo2", _GROUPED),
    Architecture("olmo3", "Olmo3", {**_GROUPED, **_ALTERNATING}),
    Architecture("olmoe", "Olmoe", {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    Architecture(
        "granite",
        "Granite",
        {
            **_GROUPED,
            "embedding_multiplier": 2.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.2,
            "logits_scaling": 2.0,
        },
    ),
    Architecture("granite moe", "GraniteMoe", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    Architecture(
        "granite4, attention alone",
        "GraniteMoeHybrid",
        {
            **_HYBRID,
            "layer_types": ["attention", "attention"],
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
            "shared_intermediate_size": 96,
        },
    ),
    Architecture(
        "granite4, hybrid",
        "GraniteMoeHybrid",
        {
            **_HYBRID,
            "layer_types": ["mamba", "attention"],
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 48,
        },
    ),
    Architecture("smollm3", "SmolLM3", _GROUPED),
    Architecture("cohere", "Cohere", _GROUPED),
    Architecture("cohere2", "Cohere2", {**_GROUPED, **_ALTERNATING}),
    Architecture(
        "gpt-oss",
        "GptOss",
        {
            **_WIDE,
            **_ALTERNATING,
            **_rope(
                "yarn",
                factor=4.0,
                original_max_position_embeddings=128,
                beta_fast=32.0,
                beta_slow=1.0,
                truncate=False,
            ),
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
        },
    ),
    Architecture("glm", "Glm", _NARROW),
    Architecture("glm4", "Glm4", _NARROW),
    Architecture("glm4 moe", "Glm4Moe", {**_NARROW, **_ROUTED}),
    Architecture("arcee", "Arcee", _GROUPED),
    Architecture("hunyuan", "HunYuanDenseV1", _NARROW),
    Architecture("persimmon", "Persimmon", _PLAIN),
    Architecture(
        "xglm",
        "XGLM",
        {
            "d_model": 64,
            "ffn_dim": 96,
            "num_layers": 2,
            "attention_heads": 4,
            "max_position_embeddings": 512,
            "init_std": 0.35,
        },
    ),
    Architecture("gemma", "Gemma", _NARROW),
    Architecture("gemma2", "Gemma2", {**_NARROW, **_ALTERNATING, "query_pre_attn_scalar": 16}),
    Architecture("gemma3", "Gemma3Text", {**_NARROW, **_ALTERNATING, "query_pre_attn_scalar": 16}),
    Architecture("deepseek v2", "DeepseekV2", {**_LATENT, **_ROUTED, "topk_method": "greedy"}),
    Architecture("deepseek v3", "DeepseekV3", {**_LATENT, **_ROUTED, "n_group": 2}),
    Architecture("exaone4", "Exaone4", {**_GROUPED, **_ALTERNATING, "sliding_window_pattern": 2}),
    Architecture("ernie4.5", "Ernie4_5", _NARROW),
    Architecture(
        "ernie4.5 moe",
        "Ernie4_5_Moe",
        {
            **_GROUPED,
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 48,
            "moe_layer_start_index": 1,
            "moe_layer_end_index": 1,
            "moe_num_shared_experts": 1,
        },
    ),
    Architecture("seed-oss", "SeedOss", _NARROW),
    Architecture("lfm2", "Lfm2", {**_GROUPED, "layer_types": ["conv", "full_attention"]}),
    Architecture("mamba", "Mamba", {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}),
    Architecture("nemotron", "Nemotron", _NARROW),
    Architecture("helium", "Helium", _NARROW),
    Architecture("apertus", "Apertus", {**_GROUPED, **_rope("default")}),
    Architecture("dots1", "Dots1", {**_GROUPED, **_ROUTED}),
    Architecture("bitnet", "BitNet", _GROUPED),
)


def named(name: str) -> Architecture:
    """Raises: KeyError: there is no such architecture."""
    return {each.name: each for each in ARCHITECTURES}[name]
