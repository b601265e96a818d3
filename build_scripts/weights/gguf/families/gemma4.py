"""Gemma 4: two sizes of heads, layers that share keys, an embedding for each layer, experts beside the MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from build_scripts.weights.gguf.families.family import HEAD_NORMS, LLAMA, Family, Joined
from build_scripts.weights.gguf.families.joined import as_it_is, gate_above_up
from build_scripts.weights.gguf.model import Model
from build_scripts.weights.gguf.rope import LLAMA_3, factors

_SLIDING: Final = "sliding_attention"
_SHARED: Final = "attention.shared_kv_layers"


def gemma4(model: Model) -> dict[str, Any]:
    layers = model.window_layers(6)
    heads = _by_layer(model, "attention.head_count_kv")
    widths = _by_layer(model, "feed_forward_length")
    of_kind = dict(zip(layers, heads, strict=True))
    return {
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden,
        "intermediate_size": min(widths),
        "use_double_wide_mlp": max(widths) > min(widths),
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": of_kind.get(_SLIDING, heads[0]),
        "num_global_key_value_heads": of_kind.get("full_attention", heads[-1]),
        "num_kv_shared_layers": model.optional(_SHARED) or 0,
        "attention_k_eq_v": any(_is_without_values(model, layer, kind) for layer, kind in enumerate(layers)),
        "head_dim": model.count("attention.key_length_swa"),
        "global_head_dim": model.count("attention.key_length"),
        "rms_norm_eps": model.number("attention.layer_norm_rms_epsilon"),
        "hidden_activation": "gelu_pytorch_tanh",
        "final_logit_softcapping": model.number("final_logit_softcapping", 0.0) or None,
        "max_position_embeddings": model.count("context_length"),
        "sliding_window": model.window,
        "layer_types": layers,
        "rope_parameters": _rope(model),
        "hidden_size_per_layer_input": model.optional("embedding_length_per_layer_input") or 0,
        "vocab_size_per_layer_input": model.vocab_size,
        "enable_moe_block": model.experts > 0,
        "num_experts": model.experts or None,
        "top_k_experts": model.optional("expert_used_count"),
        "moe_intermediate_size": model.optional("expert_feed_forward_length"),
        "tie_word_embeddings": model.tied,
        "torch_dtype": model.dtype,
    }


def _by_layer(model: Model, key: str) -> list[int]:
    """A number for each layer, of a list of them or of one for all."""
    full = model.meta.own(key)
    if isinstance(model.meta.values.get(full), list):
        found = [int(number) for number in model.meta.required_numbers(full, model.layers)]
        if min(found) < 1:
            raise model.meta.error(full, "must be whole numbers ≥ 1")
        return found
    return [model.count(key)] * model.layers


def _is_without_values(model: Model, layer: int, kind: str) -> bool:
    """Whether its keys are its values; a layer that shares those of another has neither."""
    return kind != _SLIDING and not _is_sharing(model, layer) and f"blk.{layer}.attn_v.weight" not in model.tensors


def _is_sharing(model: Model, layer: int) -> bool:
    return layer >= model.layers - (model.optional(_SHARED) or 0)


def _rope(model: Model) -> dict[str, Any]:
    """Heads of full attention are rotated in part: the table of the file has ones for that part, and then 1e30."""
    table = factors(model.tensors[LLAMA_3]) if LLAMA_3 in model.tensors else [1.0]
    full = {"rope_type": "proportional", "rope_theta": model.number("rope.freq_base", 1e6)}
    return {
        "full_attention": {**full, "partial_rotary_factor": table.count(1.0) / len(table)},
        _SLIDING: {"rope_type": "default", "rope_theta": model.number("rope.freq_base_swa", 1e4)},
    }


def _kind(model: Model, layer: int) -> object:
    return model.window_layer(layer, 6), _is_sharing(model, layer)


_LAYER: Final = {
    **LLAMA,
    **HEAD_NORMS,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "layer_output_scale.weight": "layer_scalar",
    "inp_gate": "per_layer_input_gate",
    "proj": "per_layer_projection",
    "post_norm": "post_per_layer_input_norm",
    "post_ffw_norm_1": "post_feedforward_layernorm_1",
    "post_ffw_norm_2": "post_feedforward_layernorm_2",
    "pre_ffw_norm_2": "pre_feedforward_layernorm_2",
    "ffn_gate_inp": "router.proj",
    "ffn_gate_inp.scale": "router.scale",
    "ffn_down_exps.scale": "router.per_expert_scale",
}
_TOP: Final = {
    "token_embd": "model.embed_tokens",
    "per_layer_token_embd": "model.embed_tokens_per_layer",
    "per_layer_model_proj": "model.per_layer_model_projection",
    "per_layer_proj_norm": "model.per_layer_projection_norm",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_EXPERTS: Final = {
    "experts.gate_up_proj": (
        Joined(("ffn_gate_up_exps.weight",), as_it_is),
        Joined(("ffn_gate_exps.weight", "ffn_up_exps.weight"), gate_above_up),
    ),
    "experts.down_proj": (Joined(("ffn_down_exps.weight",), as_it_is),),
}

FAMILIES: Final[Mapping[str, Family]] = {
    "gemma4": Family("Gemma4ForCausalLM", "gemma4_text", gemma4, _LAYER, _TOP, joined=_EXPERTS, kind=_kind)
}
