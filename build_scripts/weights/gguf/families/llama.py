"""Llama and what is built like it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from build_scripts.weights.gguf.families.family import (
    ATTENTION,
    HEAD_NORMS,
    LLAMA,
    NUMBERED_EXPERTS,
    UNGATED,
    Family,
    Named,
)
from build_scripts.weights.gguf.families.layouts import half_split_keys, half_split_queries
from build_scripts.weights.gguf.model import Model

ROTATED: Final = {"attn_q": half_split_queries, "attn_k": half_split_keys}


def llama(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "attention_bias": model.has("attn_q.bias"), "mlp_bias": model.has("ffn_up.bias")}


def _mixtral(model: Model) -> dict[str, Any]:
    experts = {"num_local_experts": model.experts, "num_experts_per_tok": model.count("expert_used_count")}
    return {**model.decoder(), **experts}


def _ministral(model: Model) -> dict[str, Any]:
    """Its attention is scaled by the logarithm of the position, which HuggingFace keeps among the values of rope."""
    config = model.decoder()
    scaling, scale = config["rope_scaling"], model.number("attention.temperature_scale", 0.0)
    return {**config, "rope_scaling": {**(scaling or {"rope_type": "default"}), "llama_4_scaling_beta": scale}}


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


def _minicpm(model: Model) -> dict[str, Any]:
    """Granite's computation; older files leave out the scales, which were the same for all models."""
    return {
        **granite(model),
        "embedding_multiplier": model.number("embedding_scale", 12.0),
        "residual_multiplier": model.number("residual_scale", 1.4 / math.sqrt(model.layers)),
        "logits_scaling": model.number("logit_scale", model.hidden / 256),
    }


def smollm3(model: Model) -> dict[str, Any]:
    """Every fourth layer does without rotation."""
    return {**model.decoder(), "no_rope_layer_interval": 4, "use_sliding_window": False}


def ernie(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "use_bias": model.has("attn_q.bias")}


def seed_oss(model: Model) -> dict[str, Any]:
    biases = {"attention_bias": model.has("attn_q.bias"), "attention_out_bias": model.has("attn_output.bias")}
    return {**model.decoder(), **biases, "mlp_bias": model.has("ffn_up.bias")}


def arcee(model: Model) -> dict[str, Any]:
    return {**llama(model), "hidden_act": "relu2"}


def _hunyuan(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "attention_bias": model.has("attn_q.bias")}


def _bitnet(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "hidden_act": "relu2"}


def _apertus(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "hidden_act": "xielu", "attention_bias": model.has("attn_q.bias")}


_SEED: Final = {
    **{part: name for part, name in LLAMA.items() if part != "ffn_norm"},
    "post_attention_norm": "post_attention_layernorm",
}
_HUNYUAN_NORMS: Final = {"attn_q_norm": "self_attn.query_layernorm", "attn_k_norm": "self_attn.key_layernorm"}
_BITNET: Final = {**LLAMA, "attn_sub_norm": "self_attn.attn_sub_norm", "ffn_sub_norm": "mlp.ffn_sub_norm"}
_XIELU: Final = {
    f"mlp.act_fn.{name}": (f"xielu.{name}", shape)
    for name, shape in (("alpha_p", (1,)), ("alpha_n", (1,)), ("beta", ()), ("eps", ()))
}
_APERTUS: Final = {**UNGATED, **HEAD_NORMS, "attn_norm": "attention_layernorm", "ffn_norm": "feedforward_layernorm"}
_LLAMA: Final = Family("LlamaForCausalLM", "llama", llama, LLAMA, layouts=ROTATED)
_MIXTRAL: Final = Family(
    "MixtralForCausalLM",
    "mixtral",
    _mixtral,
    {**ATTENTION, "ffn_norm": "post_attention_layernorm", **NUMBERED_EXPERTS},
    layouts=ROTATED,
)

FAMILIES: Final[Mapping[str, Named]] = {
    "llama": lambda model: _MIXTRAL if model.experts else _LLAMA,
    "mistral3": Family("Ministral3ForCausalLM", "ministral3", _ministral, LLAMA, layouts=ROTATED),
    "internlm2": _LLAMA,
    "xverse": _LLAMA,
    "exaone": Family("LlamaForCausalLM", "llama", llama, LLAMA),
    "granite": Family("GraniteForCausalLM", "granite", granite, LLAMA, layouts=ROTATED),
    "minicpm": Family("GraniteForCausalLM", "granite", _minicpm, LLAMA, layouts=ROTATED),
    "smollm3": Family("SmolLM3ForCausalLM", "smollm3", smollm3, LLAMA, layouts=ROTATED),
    "arcee": Family("ArceeForCausalLM", "arcee", arcee, UNGATED, layouts=ROTATED),
    "ernie4_5": Family("Ernie4_5ForCausalLM", "ernie4_5", ernie, LLAMA),
    "seed_oss": Family("SeedOssForCausalLM", "seed_oss", seed_oss, _SEED),
    "hunyuan-dense": Family("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", _hunyuan, {**LLAMA, **_HUNYUAN_NORMS}),
    "bitnet": Family("BitNetForCausalLM", "bitnet", _bitnet, _BITNET),
    "apertus": Family("ApertusForCausalLM", "apertus", _apertus, _APERTUS, values=_XIELU),
}
