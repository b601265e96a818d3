"""Gemma 1 to 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from build_scripts.weights.gguf.families.family import HEAD_NORMS, LLAMA, Family
from build_scripts.weights.gguf.families.layouts import less_one
from build_scripts.weights.gguf.model import Model

_TANH_GELU: Final = "gelu_pytorch_tanh"
_GEMMA2_27B, _GEMMA3_27B = 46, 62  # layers of the two models whose scores are not scaled by the size of a head


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


_GEMMA2: Final = {
    **LLAMA,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_NORMS: Final = dict.fromkeys(
    (*(part for part in _GEMMA2 if part.endswith("norm")), *HEAD_NORMS, "output_norm"), less_one
)

FAMILIES: Final[Mapping[str, Family]] = {
    "gemma": Family("GemmaForCausalLM", "gemma", gemma, LLAMA, layouts=_NORMS),
    "gemma2": Family("Gemma2ForCausalLM", "gemma2", gemma2, _GEMMA2, layouts=_NORMS),
    "gemma3": Family("Gemma3ForCausalLM", "gemma3_text", gemma3, _GEMMA2 | HEAD_NORMS, layouts=_NORMS),
}
