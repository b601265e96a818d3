"""Decoders of which HuggingFace keeps in one tensor what llama.cpp keeps in several: latent attention, experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from build_scripts.weights.gguf.families.experts import ROUTED, routed
from build_scripts.weights.gguf.families.family import ATTENTION, LLAMA, Family, Joined, Named
from build_scripts.weights.gguf.families.layouts import above, alike, beside, interleaved, matrices, stacked, transposed
from build_scripts.weights.gguf.families.llama import ROTATED
from build_scripts.weights.gguf.header import StoredTensor
from build_scripts.weights.gguf.model import Model
from build_scripts.weights.gguf.reading import lazy
from build_scripts.weights.gguf.rope import rope_scaling
from build_scripts.weights.patchwork import Patch, patchwork
from build_scripts.weights.view import LazyTensor

_YARN_UNIT: Final = 0.1  # llama.cpp keeps a tenth of `mscale_all_dim`


def _deepseek(model: Model) -> dict[str, Any]:
    """Of latent attention; the sizes of a head are under other keys since llama.cpp keeps k_b and v_b."""
    rotated = model.count("rope.dimension_count")
    key = model.optional("attention.key_length_mla") or model.count("attention.key_length")
    value = model.optional("attention.value_length_mla") or model.count("attention.value_length")
    if rotated >= key:
        raise model.meta.error(model.meta.own("rope.dimension_count"), f"must be < {key}, the size of a key")
    theta = model.number("rope.freq_base", 10000.0)
    scaling = rope_scaling(model.meta, model.tensors, rotated, theta)
    if scaling is not None and "mscale_all_dim" in scaling:
        scale = round(scaling["mscale_all_dim"] / _YARN_UNIT, 6)
        scaling |= {"mscale": scale, "mscale_all_dim": scale}
    return {
        **model.sizes(),
        "num_key_value_heads": model.heads,
        "rope_theta": theta,
        "rope_scaling": scaling,
        "rms_norm_eps": model.number("attention.layer_norm_rms_epsilon"),
        "hidden_act": "silu",
        "q_lora_rank": model.optional("attention.q_lora_rank"),
        "kv_lora_rank": model.count("attention.kv_lora_rank"),
        "qk_rope_head_dim": rotated,
        "qk_nope_head_dim": key - rotated,
        "v_head_dim": value,
    }


def _deepseek2(model: Model) -> dict[str, Any]:
    experts = routed(model)
    method = "group_limited_greedy" if experts["n_group"] > 1 else "greedy"
    return {**_deepseek(model), **experts, "topk_method": method}


def _deepseek3(model: Model) -> dict[str, Any]:
    return {**_deepseek(model), **routed(model)}


def _from_keys_and_values(name: str, parts: Sequence[StoredTensor], model: Model) -> LazyTensor:
    """`kv_b_proj`, head after head: k_b, which llama.cpp keeps as [latent, key], and v_b, [value, latent]."""
    keys, values = (matrices(part, name, model.heads) for part in parts)
    patches, row = [], 0
    for key, value in zip(keys, values, strict=True):
        for part in alike([transposed(key), value]):
            patches.append(Patch.all_of(part, row))
            row += part.shape[0]
    return patchwork(name, (row, keys[0].shape[0]), patches)


def _gpt_oss(model: Model) -> dict[str, Any]:
    config = model.decoder()
    scaling = config["rope_scaling"]
    if scaling is not None and scaling["rope_type"] == "yarn":
        scaling["truncate"] = False
    return {
        **config,
        "intermediate_size": model.count("expert_feed_forward_length", model.count("feed_forward_length")),
        "num_local_experts": model.experts,
        "num_experts_per_tok": model.count("expert_used_count"),
        "attention_bias": model.has("attn_q.bias"),
        "sliding_window": model.window,
        "layer_types": model.window_layers(2),
    }


def _gate_and_up_by_turns(name: str, parts: Sequence[StoredTensor], model: Model) -> LazyTensor:
    gate, up = (matrices(part, name, model.experts) for part in parts)
    rows, columns = gate[0].shape
    return stacked(name, [gate, up], lambda *pair: interleaved(*pair).T, (columns, 2 * rows))


def _biases_by_turns(name: str, parts: Sequence[StoredTensor], _: Model) -> LazyTensor:
    gate, up = (lazy(part, name) for part in parts)
    return beside(gate, up)


def _down(name: str, parts: Sequence[StoredTensor], model: Model) -> LazyTensor:
    down = matrices(parts[0], name, model.experts)
    rows, columns = down[0].shape
    return stacked(name, [down], lambda matrix: matrix.T, (columns, rows))


def _granite_moe(model: Model) -> dict[str, Any]:
    return {
        **model.decoder(),
        "num_local_experts": model.experts,
        "num_experts_per_tok": model.count("expert_used_count"),
        "shared_intermediate_size": model.optional("expert_shared_feed_forward_length") or 0,
        "attention_bias": model.has("attn_q.bias"),
        "embedding_multiplier": model.number("embedding_scale", 1.0),
        "residual_multiplier": model.number("residual_scale", 1.0),
        "attention_multiplier": model.number("attention.scale", model.head_size**-0.5),
        "logits_scaling": model.number("logit_scale", 1.0),
    }


def gate_above_up(name: str, parts: Sequence[StoredTensor], model: Model) -> LazyTensor:
    gate, up = (matrices(part, name, model.experts) for part in parts)
    rows, columns = gate[0].shape
    return stacked(name, [gate, up], above, (2 * rows, columns))


def as_it_is(name: str, parts: Sequence[StoredTensor], model: Model) -> LazyTensor:
    experts = matrices(parts[0], name, model.experts)
    return stacked(name, [experts], lambda matrix: matrix, experts[0].shape)


def _shared_gate_above_up(name: str, parts: Sequence[StoredTensor], _: Model) -> LazyTensor:
    gate, up = alike([lazy(part, name) for part in parts])
    rows = gate.shape[0]
    return patchwork(name, (2 * rows, *gate.shape[1:]), [Patch.all_of(gate), Patch.all_of(up, rows)])


_LATENT: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_kv_b": "self_attn.kv_b_proj",
    "attn_output": "self_attn.o_proj",
}
_KEYS_AND_VALUES: Final = Joined(("attn_k_b.weight", "attn_v_b.weight"), _from_keys_and_values)
_KV_B: Final = {"self_attn.kv_b_proj.weight": (_KEYS_AND_VALUES,)}
_DEEPSEEK2: Final = Family("DeepseekV2ForCausalLM", "deepseek_v2", _deepseek2, _LATENT | ROUTED, joined=_KV_B)
_DEEPSEEK3: Final = Family("DeepseekV3ForCausalLM", "deepseek_v3", _deepseek3, _LATENT | ROUTED, joined=_KV_B)
_YOUTU: Final = Family("YoutuForCausalLM", "youtu", _deepseek, _LATENT | LLAMA, joined=_KV_B)
_GPT_OSS: Final = {
    **ATTENTION,
    "attn_sinks.weight": "self_attn.sinks",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_gate_inp": "mlp.router",
    "ffn_down_exps.bias": "mlp.experts.down_proj_bias",
}
_GPT_OSS_EXPERTS: Final = {
    "mlp.experts.gate_up_proj": (Joined(("ffn_gate_exps.weight", "ffn_up_exps.weight"), _gate_and_up_by_turns),),
    "mlp.experts.gate_up_proj_bias": (Joined(("ffn_gate_exps.bias", "ffn_up_exps.bias"), _biases_by_turns),),
    "mlp.experts.down_proj": (Joined(("ffn_down_exps.weight",), _down),),
}
_MOE: Final = "block_sparse_moe"
_GRANITE_MOE: Final = {
    **ATTENTION,
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate_inp": f"{_MOE}.router.layer",
    "ffn_down_shexp": "shared_mlp.output_linear",
}
_GRANITE_MOE_EXPERTS: Final = {
    f"{_MOE}.input_linear.weight": (Joined(("ffn_gate_exps.weight", "ffn_up_exps.weight"), gate_above_up),),
    f"{_MOE}.output_linear.weight": (Joined(("ffn_down_exps.weight",), as_it_is),),
    "shared_mlp.input_linear.weight": (
        Joined(("ffn_gate_shexp.weight", "ffn_up_shexp.weight"), _shared_gate_above_up),
    ),
}


def _deepseek_family(model: Model) -> Family:
    """V3 and what is built like it (Kimi, GLM 4.7 Flash) corrects the scores of the experts, V2 does not."""
    if not model.experts:
        return _YOUTU
    corrected = any(name.endswith("exp_probs_b.bias") for name in model.tensors)
    return _DEEPSEEK3 if corrected else _DEEPSEEK2


def _granite_family(model: Model) -> Family:
    shared = "GraniteMoeShared" if model.has("ffn_up_shexp.weight") else "GraniteMoe"
    return Family(
        f"{shared}ForCausalLM", shared.lower(), _granite_moe, _GRANITE_MOE, layouts=ROTATED, joined=_GRANITE_MOE_EXPERTS
    )


FAMILIES: Final[Mapping[str, Named]] = {
    "deepseek2": _deepseek_family,
    "gpt-oss": Family("GptOssForCausalLM", "gpt_oss", _gpt_oss, _GPT_OSS, joined=_GPT_OSS_EXPERTS),
    "granitemoe": _granite_family,
}
