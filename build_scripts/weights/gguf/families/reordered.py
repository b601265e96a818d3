"""Decoders that differ from Llama in where their norms are, or in what they rotate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from build_scripts.weights.gguf.families.family import HEAD_NORMS, LLAMA, UNGATED, Family, Named
from build_scripts.weights.gguf.families.layouts import less_one
from build_scripts.weights.gguf.families.llama import ROTATED
from build_scripts.weights.gguf.model import Model


def _olmo2(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "attention_bias": False}


def _olmo3(model: Model) -> dict[str, Any]:
    """OLMo 2 with windows in three of four layers."""
    return {**_olmo2(model), "sliding_window": model.window, "layer_types": model.window_layers(4)}


def olmo(model: Model) -> dict[str, Any]:
    key = model.meta.own("attention.clamp_kqv")
    clip = model.meta.number(key) if model.meta.values.get(key) else None
    return {**model.sizes(), **model.rope(), "hidden_act": "silu", "clip_qkv": clip}


def exaone4(model: Model) -> dict[str, Any]:
    """Layers with windows are rotated; without windows, all are."""
    layers = model.window_layers(4) if model.window else ["full_attention"] * model.layers
    return {**model.decoder(), "sliding_window": model.window, "layer_types": layers}


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


def _jais2(model: Model) -> dict[str, Any]:
    return {
        **model.sizes(),
        **model.rope(),
        "head_dim": model.head_size,
        "layer_norm_eps": model.number("attention.layer_norm_epsilon"),
        "hidden_act": "relu2",
        "attention_bias": model.has("attn_q.bias"),
        "mlp_bias": model.has("ffn_up.bias"),
    }


_OLMO2: Final = {
    **{part: name for part, name in (LLAMA | HEAD_NORMS).items() if part not in {"attn_norm", "ffn_norm"}},
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_PHI3: Final = {
    "attn_norm": "input_layernorm",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.gate_up_proj",
    "ffn_down": "mlp.down_proj",
}
_GLM: Final = {**UNGATED, "ffn_up": "mlp.gate_up_proj"}
_GLM4: Final = {
    **_GLM,
    "ffn_norm": "post_attention_layernorm",
    "post_attention_norm": "post_self_attn_layernorm",
    "post_ffw_norm": "post_mlp_layernorm",
}
_WITHOUT_NORMS: Final = {part: name for part, name in LLAMA.items() if not part.endswith("norm")}
_COMMAND_R: Final = {part: name for part, name in (LLAMA | HEAD_NORMS).items() if part != "ffn_norm"}
_NEMOTRON_NORMS: Final = dict.fromkeys(("attn_norm", "ffn_norm", "output_norm"), less_one)
_OLMO2_MODEL: Final = Family("Olmo2ForCausalLM", "olmo2", _olmo2, _OLMO2)
_OLMO3_MODEL: Final = Family("Olmo3ForCausalLM", "olmo3", _olmo3, _OLMO2)

FAMILIES: Final[Mapping[str, Named]] = {
    "olmo": Family("OlmoForCausalLM", "olmo", olmo, _WITHOUT_NORMS, layouts=ROTATED),
    "olmo2": lambda model: _OLMO3_MODEL if model.window else _OLMO2_MODEL,
    "exaone4": Family("Exaone4ForCausalLM", "exaone4", exaone4, _OLMO2),
    "command-r": Family("CohereForCausalLM", "cohere", command_r, _COMMAND_R),
    "cohere2": Family("Cohere2ForCausalLM", "cohere2", cohere2, _COMMAND_R),
    "chatglm": Family("GlmForCausalLM", "glm", glm4, _GLM),
    "glm4": Family("Glm4ForCausalLM", "glm4", glm4, _GLM4),
    "phi3": Family("Phi3ForCausalLM", "phi3", phi3, _PHI3),
    "nemotron": Family("NemotronForCausalLM", "nemotron", nemotron, UNGATED, layouts=_NEMOTRON_NORMS),
    "jais2": Family("Jais2ForCausalLM", "jais2", _jais2, UNGATED),
}
