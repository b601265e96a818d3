"""What the small configurations of the architectures share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.build_scripts.weights.gguf.gguf_checkpoints import byte_level_tokens

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
# What the models before Llama have: an MLP of four times the size, a key for each query.
FOURFOLD = {"feed_forward_length": 4 * 64}
ALL_KEYS = {"attention.head_count_kv": 8}
YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "factor": 8.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 10000.0,
}
ROUTED: dict[str, Any] = {
    **EXPERTS,
    "n_routed_experts": 4,
    "moe_intermediate_size": 32,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
LATENT: dict[str, Any] = {
    "num_key_value_heads": 8,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
}
GEMMA4: dict[str, Any] = {
    "head_dim": 16,
    "global_head_dim": 32,
    "sliding_window": 32,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
    "final_logit_softcapping": 30.0,
}
GEMMA4_KEYS: dict[str, Any] = {
    "attention.key_length": 32,
    "attention.key_length_swa": 16,
    "attention.sliding_window_pattern": [True, True, False] * 2,
    "final_logit_softcapping": 30.0,
    "rope.freq_base": 1e6,
    "rope.freq_base_swa": 1e4,
}
MPT: dict[str, Any] = {"d_model": 64, "n_heads": 8, "n_layers": 6, "max_seq_len": 256}


@dataclass(frozen=True)
class Case:
    """llama.cpp's architecture, the name of transformers' class without `ForCausalLM`, its values, llama.cpp's keys.

    Keys are those beyond the common ones that `writing` adds.
    """

    architecture: str
    kind: str
    values: Mapping[str, Any]
    keys: Mapping[str, Any] = field(default_factory=dict)
