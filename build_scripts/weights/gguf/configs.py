"""`config.json` of each architecture: the common values of model.py, and what is the family's own.

Where llama.cpp keeps no value, it is the one that llama.cpp itself computes with (src/models/), named beside it.
"""

from __future__ import annotations

from typing import Any, Final

from build_scripts.weights.gguf.model import Model

_TANH_GELU: Final = "gelu_pytorch_tanh"
_GEMMA2_27B, _GEMMA3_27B = 46, 62  # layers of the two models whose scores are not scaled by the size of a head


def llama(model: Model) -> dict[str, Any]:
    config = {**model.decoder(), "attention_bias": model.has("attn_q.bias"), "mlp_bias": model.has("ffn_up.bias")}
    if not model.experts:
        return config
    del config["attention_bias"], config["mlp_bias"]
    experts = {"num_local_experts": model.experts, "num_experts_per_tok": model.count("expert_used_count")}
    return {**config, **experts, "architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}


def qwen2(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "use_sliding_window": False}


def qwen3(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "attention_bias": False, "use_sliding_window": False}


def qwen2moe(model: Model) -> dict[str, Any]:
    shared = model.count("expert_shared_feed_forward_length", model.rows("ffn_gate_shexp.weight"))
    return {**qwen2(model), **_experts(model), "shared_expert_intermediate_size": shared, "norm_topk_prob": False}


def qwen3moe(model: Model) -> dict[str, Any]:
    return {**qwen3(model), **_experts(model), "norm_topk_prob": True}


def _experts(model: Model) -> dict[str, Any]:
    return {
        "num_experts": model.experts,
        "num_experts_per_tok": model.count("expert_used_count"),
        "moe_intermediate_size": model.count("expert_feed_forward_length"),
        "decoder_sparse_step": 1,
    }


def granite(model: Model) -> dict[str, Any]:
    return {
        **model.decoder(),
        "attention_bias": model.has("attn_q.bias"),
        "mlp_bias": model.has("ffn_up.bias"),
        "embedding_multiplier": model.number("embedding_scale", 1.0),
        "residual_multiplier": model.number("residual_scale", 1.0),
        "attention_multiplier": model.number("attention.scale", model.head_size**-0.5),
        "logits_scaling": model.number("logit_scale", 1.0),
    }


def smollm3(model: Model) -> dict[str, Any]:
    """Every fourth layer does without rotation."""
    return {**model.decoder(), "no_rope_layer_interval": 4, "use_sliding_window": False}


def olmo2(model: Model) -> dict[str, Any]:
    """OLMo 2; OLMo 3 is the same with windows in three of four layers."""
    config = {**model.decoder(), "attention_bias": False}
    if not model.window:
        return config
    layers = model.window_layers(4)
    windows = {"sliding_window": model.window, "layer_types": layers}
    return {**config, **windows, "architectures": ["Olmo3ForCausalLM"], "model_type": "olmo3"}


def gemma(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "hidden_act": _TANH_GELU, "hidden_activation": _TANH_GELU}


def gemma2(model: Model) -> dict[str, Any]:
    return {
        **gemma(model),
        "query_pre_attn_scalar": _scalar(model, _GEMMA2_27B),
        "sliding_window": model.window or 4096,
        "layer_types": model.window_layers(2),
        "attn_logit_softcapping": model.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": model.number("final_logit_softcapping", 30.0),
    }


def gemma3(model: Model) -> dict[str, Any]:
    cap = model.number("final_logit_softcapping", 0.0) or None
    return {
        **gemma(model),
        "rope_theta": model.number("rope.freq_base", 1e6),
        "rope_local_base_freq": model.number("rope.freq_base_swa", 1e4),
        "query_pre_attn_scalar": _scalar(model, _GEMMA3_27B),
        "sliding_window": model.window,
        "layer_types": model.window_layers(6) if model.window else ["full_attention"] * model.layers,
        "final_logit_softcapping": cap,
    }


def _scalar(model: Model, layers_of_27b: int) -> int:
    return model.hidden // model.heads if model.layers == layers_of_27b else model.head_size


def phi3(model: Model) -> dict[str, Any]:
    length = model.count("context_length")
    return {
        **model.sizes(),
        **model.rope(),
        "rms_norm_eps": model.number("attention.layer_norm_rms_epsilon"),
        "hidden_act": "silu",
        "partial_rotary_factor": model.rotated,
        "original_max_position_embeddings": model.count("rope.scaling.original_context_length", length),
        "sliding_window": model.window,
    }


def gpt2(model: Model) -> dict[str, Any]:
    return {
        "vocab_size": model.vocab_size,
        "n_embd": model.hidden,
        "n_inner": model.count("feed_forward_length"),
        "n_layer": model.layers,
        "n_head": model.heads,
        "n_positions": model.count("context_length"),
        "layer_norm_epsilon": model.number("attention.layer_norm_epsilon"),
        "activation_function": "gelu_new",
        "tie_word_embeddings": model.tied,
        "torch_dtype": model.dtype,
    }


def starcoder2(model: Model) -> dict[str, Any]:
    return {
        **model.sizes(),
        **model.rope(),
        "norm_epsilon": model.number("attention.layer_norm_epsilon"),
        "hidden_act": _TANH_GELU,
        "use_bias": model.has("attn_q.bias"),
        "sliding_window": model.window,
    }


def stablelm(model: Model) -> dict[str, Any]:
    return {
        **model.sizes(),
        **model.rope(),
        "layer_norm_eps": model.number("attention.layer_norm_epsilon"),
        "hidden_act": "silu",
        "partial_rotary_factor": model.rotated,
        "use_qkv_bias": model.has("attn_q.bias"),
        "use_parallel_residual": model.meta.flag(model.meta.own("use_parallel_residual"), default=True),
    }


def command_r(model: Model) -> dict[str, Any]:
    return {
        **model.sizes(),
        **model.rope(),
        "layer_norm_eps": model.number("attention.layer_norm_epsilon"),
        "hidden_act": "silu",
        "logit_scale": model.number("logit_scale"),
        "use_qk_norm": model.has("attn_q_norm.weight"),
    }


def cohere2(model: Model) -> dict[str, Any]:
    """Every fourth layer has no window, and does without rotation."""
    return {**command_r(model), "sliding_window": model.window, "layer_types": model.window_layers(4)}


def glm4(model: Model) -> dict[str, Any]:
    return {
        **model.decoder(partial=True),
        "partial_rotary_factor": model.rotated,
        "attention_bias": model.has("attn_q.bias"),
    }


def exaone4(model: Model) -> dict[str, Any]:
    """Layers with windows are rotated; without windows, all are."""
    layers = model.window_layers(4) if model.window else ["full_attention"] * model.layers
    return {**model.decoder(), "sliding_window": model.window, "layer_types": layers}


def ernie(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "use_bias": model.has("attn_q.bias")}


def seed_oss(model: Model) -> dict[str, Any]:
    biases = {"attention_bias": model.has("attn_q.bias"), "attention_out_bias": model.has("attn_output.bias")}
    return {**model.decoder(), **biases, "mlp_bias": model.has("ffn_up.bias")}


def arcee(model: Model) -> dict[str, Any]:
    return {**llama(model), "hidden_act": "relu2"}


def nemotron(model: Model) -> dict[str, Any]:
    return {
        **model.sizes(),
        **model.rope(),
        "head_dim": model.head_size,
        "norm_eps": model.number("attention.layer_norm_epsilon"),
        "hidden_act": "relu2",
        "partial_rotary_factor": model.rotated,
        "attention_bias": model.has("attn_q.bias"),
        "mlp_bias": model.has("ffn_up.bias"),
    }


def olmo(model: Model) -> dict[str, Any]:
    key = model.meta.own("attention.clamp_kqv")
    clip = model.meta.number(key) if model.meta.values.get(key) else None
    return {**model.sizes(), **model.rope(), "hidden_act": "silu", "clip_qkv": clip}


def phi2(model: Model) -> dict[str, Any]:
    return {
        **model.sizes(),
        **model.rope(),
        "layer_norm_eps": model.number("attention.layer_norm_epsilon"),
        "hidden_act": "gelu_new",
        "partial_rotary_factor": model.rotated,
    }


def starcoder(model: Model) -> dict[str, Any]:
    own = {"activation_function": _TANH_GELU, "multi_query": model.kv_heads == 1 and model.heads > 1}
    return {**gpt2(model), **own}
