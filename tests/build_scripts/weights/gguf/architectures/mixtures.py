"""Architectures whose layers have experts, or latent attention."""

from __future__ import annotations

from tests.build_scripts.weights.gguf.architectures.values import (
    DEFAULT,
    EXPERTS,
    GEMMA4,
    GEMMA4_KEYS,
    LATENT,
    ROUTED,
    SIZES,
    YARN,
    Case,
)

CASES = {
    "mixtral": Case(
        "llama",
        "Mixtral",
        {**EXPERTS, "num_local_experts": 4, "sliding_window": None},
        {"expert_count": 4, "expert_used_count": 2},
    ),
    "qwen2moe": Case(
        "qwen2moe",
        "Qwen2Moe",
        {**EXPERTS, "num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 64},
        {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32},
    ),
    "qwen3moe": Case(
        "qwen3moe",
        "Qwen3Moe",
        {**EXPERTS, "num_experts": 4, "moe_intermediate_size": 32, "head_dim": 16, "norm_topk_prob": True},
        {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32},
    ),
    "qwen3vlmoe": Case(
        "qwen3vlmoe",
        "Qwen3Moe",
        {**EXPERTS, "num_experts": 4, "moe_intermediate_size": 32, "head_dim": 16, "norm_topk_prob": True},
    ),
    "granite 4": Case(
        "granite",
        "GraniteMoeHybrid",
        {
            "layer_types": ["attention"] * 6,
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
            "shared_intermediate_size": 96,
            "position_embedding_type": "rope",
            "embedding_multiplier": 3.0,
            "mamba_n_heads": 4,
            "mamba_d_head": 32,
            "mamba_d_state": 16,
            "mamba_n_groups": 1,
        },
    ),
    "granitemoe": Case("granitemoe", "GraniteMoe", {**EXPERTS, "num_local_experts": 4, "logits_scaling": 2.0}),
    "granitemoe with an expert for all": Case(
        "granitemoe", "GraniteMoeShared", {**EXPERTS, "num_local_experts": 4, "shared_intermediate_size": 48}
    ),
    "olmoe": Case("olmoe", "Olmoe", {**EXPERTS, "num_experts": 4}),
    "phimoe": Case(
        "phimoe",
        "Phimoe",
        {
            **EXPERTS,
            "num_local_experts": 4,
            "attention_bias": True,
            "lm_head_bias": True,
            "rope_parameters": {**DEFAULT, "original_max_position_embeddings": 256},
        },
    ),
    "glm4moe": Case(
        "glm4moe",
        "Glm4Moe",
        {
            **ROUTED,
            "head_dim": 16,
            "use_qk_norm": True,
            "attention_bias": True,
            "rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5},
        },
    ),
    "dots1": Case("dots1", "Dots1", {**ROUTED, "head_dim": 16, "routed_scaling_factor": 2.5, "norm_topk_prob": True}),
    "ernie4_5-moe": Case(
        "ernie4_5-moe",
        "Ernie4_5_Moe",
        {
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 32,
            "moe_num_shared_experts": 2,
            "moe_layer_start_index": 1,
        },
    ),
    "hunyuan-moe": Case(
        "hunyuan-moe",
        "HunYuanMoEV1",
        {
            "num_experts": 4,
            "moe_topk": [2] * 6,
            "moe_intermediate_size": [96] * 6,
            "num_shared_expert": [1] * 6,
            "head_dim": 8,
        },
    ),
    "exaone-moe": Case(
        "exaone-moe",
        "ExaoneMoe",
        {**EXPERTS, "num_experts": 4, "moe_intermediate_size": 32, "head_dim": 16, "sliding_window": 32},
    ),
    "afmoe": Case(
        "afmoe",
        "Afmoe",
        {
            **EXPERTS,
            "num_experts": 4,
            "moe_intermediate_size": 32,
            "num_dense_layers": 1,
            "num_shared_experts": 1,
            "head_dim": 16,
            "sliding_window": 32,
            "route_scale": 2.5,
            "mup_enabled": True,
        },
    ),
    "minimax-m2": Case(
        "minimax-m2",
        "MiniMaxM2",
        {
            **EXPERTS,
            "num_local_experts": 4,
            "head_dim": 16,
            "rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5},
        },
        {"expert_feed_forward_length": 96},
    ),
    "gemma4 with an embedding for each layer": Case(
        "gemma4",
        "Gemma4",
        {
            **GEMMA4,
            "vocab_size_per_layer_input": SIZES["vocab_size"],
            "hidden_size_per_layer_input": 16,
            "num_kv_shared_layers": 3,
            "use_double_wide_mlp": True,
        },
        {**GEMMA4_KEYS, "feed_forward_length": [96] * 3 + [192] * 3, "attention.shared_kv_layers": 3},
    ),
    "gemma4 with experts": Case(
        "gemma4",
        "Gemma4",
        {
            **GEMMA4,
            "hidden_size_per_layer_input": 0,
            "enable_moe_block": True,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 32,
            "attention_k_eq_v": True,
            "num_global_key_value_heads": 1,
        },
        {**GEMMA4_KEYS, "attention.head_count_kv": [2, 2, 1, 2, 2, 1]},
    ),
    "deepseek v2": Case(
        "deepseek2",
        "DeepseekV2",
        {
            **LATENT,
            **ROUTED,
            "q_lora_rank": None,
            "n_shared_experts": 2,
            "rope_parameters": {**YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
        },
    ),
    "deepseek v3": Case(
        "deepseek2",
        "DeepseekV3",
        {
            **LATENT,
            **ROUTED,
            "n_routed_experts": 8,
            "n_group": 2,
            "topk_group": 1,
            "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
        },
    ),
    "glm 4.7 flash": Case("deepseek2", "Glm4MoeLite", {**LATENT, **ROUTED}),
    "youtu": Case("deepseek2", "Youtu", LATENT),
    "gpt-oss": Case(
        "gpt-oss",
        "GptOss",
        {
            **EXPERTS,
            "num_local_experts": 4,
            "head_dim": 16,
            "sliding_window": 32,
            "rope_parameters": {**YARN, "truncate": False},
        },
    ),
}
