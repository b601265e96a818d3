"""`config.json` of a TensorRT-LLM checkpoint, as `trtllm-build` 1.2 reads it.

TensorRT-LLM has one class for several families, and each class keys of its own beside those of all
(NVIDIA/TensorRT-LLM, tensorrt_llm/models/: modeling_utils.py `PretrainedConfig`; llama/config.py@89fd9b7 and
llama/model.py, qwen/config.py@373970a, gemma/config.py@9df6d72, phi3/config.py@033f406, gpt/config.py; layers/moe.py
@c388fec `MoeConfig`; mapping.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from build_scripts.architectures import Decoder
from build_scripts.architectures.values import LONGROPE
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism

# QWenConfig gives the key no default, and its model reads it: the length up to which log-n scaling, which is off,
# leaves attention as it is (models/qwen/{config,model}.py).
_QWEN_SEQ_LENGTH: Final = 8192
_RENORMALIZE, _AS_THEY_ARE = 1, 0  # MoeConfig.ExpertScaleNormalizationMode
_GATED_IN_ONE: Final = "swiglu"  # SiLU where the two projections of a gated block are one matrix
_ACTIVATIONS: Final = {"silu": "silu", "gelu": "gelu_pytorch_tanh", "relu2": "squared-relu"}


def splits_embedding(decoder: Decoder) -> bool:
    """Gemma's configuration does so whatever it is told (gemma/config.py: `use_parallel_embedding`)."""
    return _CLASSES[decoder.family] is _gemma


def has_pipeline(decoder: Decoder) -> bool:
    """Phi-3's model neither sends nor receives hidden states (phi3/model.py: `Phi3Model`)."""
    return _CLASSES[decoder.family] is not _phi3


def checkpoint_config(decoder: Decoder, parallel: Parallelism, dtype: str) -> dict[str, Any]:
    """For weights in `dtype`, not quantized."""
    rope = decoder.rope
    config = {
        "architecture": decoder.architecture,
        "dtype": dtype,
        "logits_dtype": "float32",
        "vocab_size": decoder.vocab_size,
        "hidden_size": decoder.hidden_size,
        "num_hidden_layers": decoder.num_layers,
        "num_attention_heads": decoder.num_heads,
        "num_key_value_heads": decoder.num_kv_heads,
        "head_size": decoder.head_size,
        "intermediate_size": decoder.intermediate_size,
        "max_position_embeddings": decoder.max_position_embeddings,
        "hidden_act": _ACTIVATIONS[decoder.hidden_act] if decoder.experts is None else _GATED_IN_ONE,
        "norm_epsilon": decoder.norms.epsilon,
        "position_embedding_type": "rope_gpt_neox",
        "rotary_base": rope.theta,
        "rotary_scaling": None if rope.scaling is None else dict(rope.scaling),
        "rotary_embedding_dim": decoder.turned_size,
        "attn_bias": decoder.qkv_bias,
        "mlp_bias": decoder.mlp_bias,
        "qk_layernorm": decoder.qk_norm,
        "use_parallel_embedding": splits_embedding(decoder) and parallel.tp_size > 1,
        "embedding_sharding_dim": 0,
        "tie_word_embeddings": decoder.tied_embeddings,
        "mapping": _mapping(decoder, parallel),
        "quantization": {"quant_algo": None, "kv_cache_quant_algo": None},
        "disable_weight_only_quant_plugin": False,
    }
    return config | _CLASSES[decoder.family](decoder)


def _mapping(decoder: Decoder, parallel: Parallelism) -> dict[str, int]:
    """Exactly the keys that TensorRT-LLM needs: it rejects others."""
    experts = {"moe_tp_size": parallel.moe_tp_size, "moe_ep_size": parallel.moe_ep_size} if decoder.experts else {}
    return {
        "world_size": parallel.world_size,
        "gpus_per_node": parallel.gpus_per_node,
        "tp_size": parallel.tp_size,
        "pp_size": parallel.pp_size,
        "cp_size": 1,
        **experts,
    }


def _moe(decoder: Decoder) -> dict[str, Any]:
    """`moe`: exactly the fields of `MoeConfig` that differ from its defaults."""
    experts = decoder.experts
    if experts is None:
        return {}
    mode = _RENORMALIZE if experts.renormalize else _AS_THEY_ARE
    moe = {"num_experts": experts.count, "top_k": experts.per_token, "normalization_mode": mode}
    if experts.shared_size:
        moe["shared_expert_intermediate_size"] = experts.shared_size
    return {"moe": moe}


def _llama(decoder: Decoder) -> dict[str, Any]:
    """`attention_multiplier` is a factor of scores that are divided by √head_size already."""
    own = {"residual_mlp": False, "remove_duplicated_kv_heads": False, **_moe(decoder)}
    scales = decoder.scales
    if scales.attention is None:
        return own
    return own | {
        "embedding_multiplier": scales.embedding,
        "attention_multiplier": scales.attention * math.sqrt(decoder.head_size),
        "residual_multiplier": scales.residual,
        "output_multiplier_scale": scales.logits,
    }


def _qwen(decoder: Decoder) -> dict[str, Any]:
    own = {"qwen_type": decoder.family, "seq_length": _QWEN_SEQ_LENGTH, "use_logn_attn": False, **_moe(decoder)}
    if decoder.experts is None:
        return own
    sizes = {
        "moe_intermediate_size": decoder.experts.size,
        "moe_shared_expert_intermediate_size": decoder.experts.shared_size,
    }
    return {**own, **sizes, "mlp_only_layers": [], "decoder_sparse_step": 1}


def _gemma(decoder: Decoder) -> dict[str, Any]:
    """`layer_types` says the same as `_sliding_window_pattern`: which of the two is read changed within 1.x."""
    scales, rope = decoder.scales, decoder.rope
    own: dict[str, Any] = {"inter_layernorms": decoder.norms.sandwich}
    if scales.attention is not None:
        own["query_pre_attn_scalar"] = float(f"{scales.attention**-2:.12g}")
        own["final_logit_softcapping"] = scales.logits_cap
    if scales.attention_cap is not None or decoder.family == "gemma2":
        own["attn_logit_softcapping"] = scales.attention_cap
    if rope.local_theta is not None:
        every = decoder.full_every
        kinds = [
            "sliding_attention" if (index + 1) % every else "full_attention" for index in range(decoder.num_layers)
        ]
        own |= {"_sliding_window_pattern": every, "layer_types": kinds}
        own |= {"rope_local_base_freq": rope.local_theta, "sliding_window": decoder.sliding_window}
    return own


def _phi3(decoder: Decoder) -> dict[str, Any]:
    own: dict[str, Any] = {"hidden_act": _GATED_IN_ONE, "rotary_pct": decoder.rope.fraction}
    scaling = decoder.rope.scaling
    if scaling is None or scaling["rope_type"] != LONGROPE:
        return own
    return own | {
        "position_embedding_type": "long_rope",
        "rotary_scaling": None,
        "original_max_position_embeddings": scaling["original_max_position_embeddings"],
        "longrope_scaling_short_factors": scaling["short_factor"],
        "longrope_scaling_long_factors": scaling["long_factor"],
    }


def _gpt(decoder: Decoder) -> dict[str, Any]:
    return {
        "gpt_variant": decoder.family,
        "bias": decoder.mlp_bias,
        "q_scaling": 1.0,
        "embedding_scale": None,
        "apply_query_key_layer_scaling": False,
        "rotary_pct": decoder.rope.fraction,
        "inner_layernorm": False,
        "norm_before_bmm1": False,
    }


_CLASSES: Final[Mapping[str, Callable[[Decoder], dict[str, Any]]]] = {
    "llama": _llama,
    "mistral": _llama,
    "mixtral": _llama,
    "granite": _llama,
    "qwen2": _qwen,
    "qwen2_moe": _qwen,
    "qwen3": _qwen,
    "qwen3_moe": _qwen,
    "gemma": _gemma,
    "gemma2": _gemma,
    "gemma3_text": _gemma,
    "phi3": _phi3,
    "nemotron": _gpt,
}
