"""Decoders with experts, each of which HuggingFace keeps as a tensor of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from build_scripts.weights.gguf.families.family import (
    ATTENTION,
    EXPERTS,
    GATED,
    HEAD_NORMS,
    NUMBERED_EXPERTS,
    Family,
    shared_expert,
)
from build_scripts.weights.gguf.families.layouts import one_row
from build_scripts.weights.gguf.model import Model

_PHI_MOE_SCALE: Final = 1.243163121016122  # of attention with long rope: of the only such model, and not in its files


def routed(model: Model) -> dict[str, Any]:
    """Of DeepSeek's kind: the first layers have an MLP, the others experts, of which some take every token."""
    return {
        "n_routed_experts": model.experts,
        "num_experts_per_tok": model.count("expert_used_count"),
        "moe_intermediate_size": model.count("expert_feed_forward_length"),
        "n_shared_experts": model.optional("expert_shared_count") or 0,
        "first_k_dense_replace": model.dense_layers,
        "n_group": model.optional("expert_group_count") or 1,
        "topk_group": model.optional("expert_group_used_count") or 1,
        "norm_topk_prob": model.flag("expert_weights_norm", default=False),
        "routed_scaling_factor": model.number("expert_weights_scale", 1.0),
    }


def _olmoe(model: Model) -> dict[str, Any]:
    experts = {"num_experts": model.experts, "num_experts_per_tok": model.count("expert_used_count")}
    return {**model.decoder(), **experts, "norm_topk_prob": False}


def _phimoe(model: Model) -> dict[str, Any]:
    config = model.decoder()
    if scaling := config["rope_scaling"]:
        scaling |= {"short_mscale": _PHI_MOE_SCALE, "long_mscale": _PHI_MOE_SCALE}
    length = model.count("context_length")
    return {
        **config,
        "num_local_experts": model.experts,
        "num_experts_per_tok": model.count("expert_used_count"),
        "original_max_position_embeddings": model.count("rope.scaling.original_context_length", length),
        "attention_bias": model.has("attn_q.bias"),
        "lm_head_bias": "output.bias" in model.tensors,
        "sliding_window": model.window,
    }


def _glm4moe(model: Model) -> dict[str, Any]:
    return {
        **model.decoder(partial=True),
        **routed(model),
        "partial_rotary_factor": model.rotated,
        "attention_bias": model.has("attn_q.bias"),
        "use_qk_norm": model.has("attn_q_norm.weight"),
    }


def _dots1(model: Model) -> dict[str, Any]:
    return {**model.decoder(), **routed(model), "attention_bias": model.has("attn_q.bias")}


def _ernie_moe(model: Model) -> dict[str, Any]:
    return {
        **model.decoder(),
        "use_bias": model.has("attn_q.bias"),
        "moe_num_experts": model.experts,
        "moe_k": model.count("expert_used_count"),
        "moe_intermediate_size": model.count("expert_feed_forward_length"),
        "moe_num_shared_experts": model.optional("expert_shared_count") or 0,
        "moe_layer_start_index": model.dense_layers,
        "moe_layer_interval": model.count("interleave_moe_layer_step", 1),
        "moe_layer_end_index": model.layers - 1,
    }


def _hunyuan_moe(model: Model) -> dict[str, Any]:
    return {
        **model.decoder(),
        "num_experts": model.experts,
        "moe_topk": [model.count("expert_used_count")] * model.layers,
        "attention_bias": model.has("attn_q.bias"),
    }


def _exaone_moe(model: Model) -> dict[str, Any]:
    shared = routed(model)
    return {
        **model.decoder(),
        **shared,
        "num_experts": model.experts,
        "num_shared_experts": shared["n_shared_experts"],
        "sliding_window": model.window,
        "layer_types": model.window_layers(4) if model.window else ["full_attention"] * model.layers,
    }


def _afmoe(model: Model) -> dict[str, Any]:
    """llama.cpp computes with the embedding scaled, whatever a file says."""
    return {
        **model.decoder(),
        "num_experts": model.experts,
        "num_experts_per_tok": model.count("expert_used_count"),
        "num_shared_experts": model.optional("expert_shared_count") or 0,
        "num_dense_layers": model.dense_layers,
        "moe_intermediate_size": model.count("expert_feed_forward_length"),
        "route_scale": model.number("expert_weights_scale", 1.0),
        "mup_enabled": True,
        "sliding_window": model.window,
        "layer_types": model.window_layers(4),
    }


def _minimax(model: Model) -> dict[str, Any]:
    return {
        **model.decoder(partial=True),
        "intermediate_size": model.count("expert_feed_forward_length"),
        "num_local_experts": model.experts,
        "num_experts_per_tok": model.count("expert_used_count"),
        "rotary_dim": model.count("rope.dimension_count", model.head_size),
        "partial_rotary_factor": model.rotated,
    }


_NORM: Final = {"ffn_norm": "post_attention_layernorm"}
_SHARED: Final = shared_expert("mlp.shared_experts")
_CORRECTION: Final = {"exp_probs_b.bias": "mlp.gate.e_score_correction_bias"}
# The first layers have an MLP, the others experts.
ROUTED: Final = {**GATED, **EXPERTS, **_SHARED, **_CORRECTION}
_GLM4_MOE: Final = {
    **ATTENTION,
    **HEAD_NORMS,
    **{part: name for part, name in ROUTED.items() if part != "ffn_norm"},
    "post_attention_norm": "post_attention_layernorm",
}
_ERNIE_MOE: Final = {**ATTENTION, **ROUTED, "exp_probs_b.bias": "mlp.moe_statics.e_score_correction_bias"}
_HUNYUAN_MOE: Final = {
    **ATTENTION,
    **EXPERTS,
    **shared_expert("mlp.shared_mlp"),
    "ffn_gate_inp": "mlp.gate.wg",
    "attn_q_norm": "self_attn.query_layernorm",
    "attn_k_norm": "self_attn.key_layernorm",
}
_AFMOE: Final = {
    **ATTENTION,
    **HEAD_NORMS,
    **ROUTED,
    "attn_gate": "self_attn.gate_proj",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_mlp_layernorm",
    "post_ffw_norm": "post_mlp_layernorm",
    "ffn_gate_inp": "mlp.router.gate",
    "exp_probs_b.bias": "mlp.expert_bias",
}
_EXAONE_MOE: Final = {
    **ATTENTION,
    **HEAD_NORMS,
    **ROUTED,
    "exp_probs_b.bias": "mlp.e_score_correction_bias",
}
_MINIMAX: Final = {
    **ATTENTION,
    **HEAD_NORMS,
    **_NORM,
    **NUMBERED_EXPERTS,
    "exp_probs_b.bias": "block_sparse_moe.e_score_correction_bias",
}

FAMILIES: Final[Mapping[str, Family]] = {
    "olmoe": Family("OlmoeForCausalLM", "olmoe", _olmoe, ATTENTION | HEAD_NORMS | EXPERTS),
    "phimoe": Family("PhimoeForCausalLM", "phimoe", _phimoe, ATTENTION | _NORM | NUMBERED_EXPERTS),
    "glm4moe": Family("Glm4MoeForCausalLM", "glm4_moe", _glm4moe, _GLM4_MOE),
    "dots1": Family("Dots1ForCausalLM", "dots1", _dots1, ATTENTION | HEAD_NORMS | ROUTED),
    "ernie4_5-moe": Family(
        "Ernie4_5_MoeForCausalLM", "ernie4_5_moe", _ernie_moe, _ERNIE_MOE, layouts={"exp_probs_b": one_row}
    ),
    "hunyuan-moe": Family("HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe", _hunyuan_moe, _HUNYUAN_MOE),
    "exaone-moe": Family("ExaoneMoeForCausalLM", "exaone_moe", _exaone_moe, _EXAONE_MOE),
    "afmoe": Family("AfmoeForCausalLM", "afmoe", _afmoe, _AFMOE),
    "minimax-m2": Family("MiniMaxM2ForCausalLM", "minimax_m2", _minimax, _MINIMAX),
}
