"""GPT-2 and what came before gated layers: of each, llama.cpp fuses queries, keys and values in its own order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from build_scripts.weights.gguf.families.family import ATTENTION, LLAMA, TOP, Family, Named
from build_scripts.weights.gguf.families.layouts import grouped, transposed
from build_scripts.weights.gguf.model import Model

_TANH_GELU: Final = "gelu_pytorch_tanh"
_ALIBI: Final = 8  # HuggingFace's own; only a whole number is one of its values


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


def starcoder(model: Model) -> dict[str, Any]:
    own = {"activation_function": _TANH_GELU, "multi_query": model.kv_heads == 1 and model.heads > 1}
    return {**gpt2(model), **own}


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


def phi2(model: Model) -> dict[str, Any]:
    return {
        **model.sizes(),
        **model.rope(),
        "layer_norm_eps": model.number("attention.layer_norm_epsilon"),
        "hidden_act": "gelu_new",
        "partial_rotary_factor": model.rotated,
    }


def _gptneox(model: Model) -> dict[str, Any]:
    return {
        **model.sizes(),
        **model.rope(),
        "hidden_act": "gelu",
        "layer_norm_eps": model.number("attention.layer_norm_epsilon"),
        "rotary_pct": model.rotated,
        "use_parallel_residual": model.flag("use_parallel_residual", default=True),
        "attention_bias": model.has("attn_qkv.bias"),
    }


def _bloom(model: Model) -> dict[str, Any]:
    return {
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden,
        "n_layer": model.layers,
        "n_head": model.heads,
        "seq_length": model.count("context_length"),
        "layer_norm_epsilon": model.number("attention.layer_norm_epsilon"),
        "tie_word_embeddings": model.tied,
        "torch_dtype": model.dtype,
    }


def _falcon(model: Model) -> dict[str, Any]:
    several = model.kv_heads > 1
    return {
        **model.sizes(),
        **model.rope(),
        "ffn_hidden_size": model.count("feed_forward_length"),
        "layer_norm_epsilon": model.number("attention.layer_norm_epsilon"),
        "num_kv_heads": model.kv_heads,
        "multi_query": not several,
        "new_decoder_architecture": several,
        "num_ln_in_parallel_attn": (2 if model.has("attn_norm_2.weight") else 1) if several else None,
        "parallel_attn": True,
        "alibi": False,
        "bias": model.has("attn_qkv.bias"),
    }


def _mpt(model: Model) -> dict[str, Any]:
    bias = model.meta.values.get(model.meta.own("attention.max_alibi_bias"))
    clip = model.meta.values.get(model.meta.own("attention.clamp_kqv"))
    return {
        "vocab_size": model.vocab_size,
        "d_model": model.hidden,
        "n_layers": model.layers,
        "n_heads": model.heads,
        "expansion_ratio": model.count("feed_forward_length") // model.hidden,
        "max_seq_len": model.count("context_length"),
        "layer_norm_epsilon": model.number("attention.layer_norm_epsilon"),
        "attn_config": {
            "alibi": bool(bias),
            "alibi_bias_max": int(model.number("attention.max_alibi_bias")) if bias else _ALIBI,
            "clip_qkv": model.number("attention.clamp_kqv") if clip else None,
        },
        "no_bias": True,
        "tie_word_embeddings": model.tied,
        "torch_dtype": model.dtype,
    }


_GPT2: Final = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_GPT2_TOP: Final = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
}
_STARCODER2: Final = {
    **ATTENTION,
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_PHI2: Final = {
    **ATTENTION,
    "attn_output": "self_attn.dense",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}
_UP_AND_DOWN: Final = {"ffn_up": "mlp.dense_h_to_4h", "ffn_down": "mlp.dense_4h_to_h"}
_GPT_NEOX: Final = {
    "attn_norm": "input_layernorm",
    "attn_qkv": "attention.query_key_value",
    "attn_output": "attention.dense",
    "ffn_norm": "post_attention_layernorm",
    **_UP_AND_DOWN,
}
_GPT_NEOX_TOP: Final = {
    "token_embd": "gpt_neox.embed_in",
    "output_norm": "gpt_neox.final_layer_norm",
    "output": "embed_out",
}
_FALCON_7B: Final = {
    "attn_norm": "input_layernorm",
    "attn_qkv": "self_attention.query_key_value",
    "attn_output": "self_attention.dense",
    **_UP_AND_DOWN,
}
_FALCON_40B: Final = {**_FALCON_7B, "attn_norm": "ln_mlp", "attn_norm_2": "ln_attn"}
_BLOOM: Final = {**_FALCON_7B, "ffn_norm": "post_attention_layernorm"}
_BLOOM_TOP: Final = {
    "token_embd": "transformer.word_embeddings",
    "token_embd_norm": "transformer.word_embeddings_layernorm",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
}
_MPT: Final = {
    "attn_norm": "norm_1",
    "attn_qkv": "attn.Wqkv",
    "attn_output": "attn.out_proj",
    "ffn_norm": "norm_2",
    "ffn_up": "ffn.up_proj",
    "ffn_down": "ffn.down_proj",
}
_MPT_TOP: Final = {"token_embd": "transformer.wte", "output_norm": "transformer.norm_f", "output": "lm_head"}
_H: Final = "transformer.h"
_FUSED: Final = {"attn_qkv": grouped}


def _falcon_family(model: Model) -> Family:
    layer = _FALCON_40B if model.has("attn_norm_2.weight") else _FALCON_7B
    return Family("FalconForCausalLM", "falcon", _falcon, layer, _BLOOM_TOP, _H, _FUSED)


FAMILIES: Final[Mapping[str, Named]] = {
    "gpt2": Family(
        "GPT2LMHeadModel",
        "gpt2",
        gpt2,
        _GPT2,
        _GPT2_TOP,
        _H,
        layouts=dict.fromkeys(("attn_qkv", "attn_output", "ffn_up", "ffn_down"), transposed),
    ),
    "starcoder": Family("GPTBigCodeForCausalLM", "gpt_bigcode", starcoder, _GPT2, _GPT2_TOP, _H),
    "starcoder2": Family("Starcoder2ForCausalLM", "starcoder2", starcoder2, _STARCODER2),
    "stablelm": Family("StableLmForCausalLM", "stablelm", stablelm, LLAMA),
    "phi2": Family("PhiForCausalLM", "phi", phi2, _PHI2, {**TOP, "output_norm": "model.final_layernorm"}),
    "gptneox": Family("GPTNeoXForCausalLM", "gpt_neox", _gptneox, _GPT_NEOX, _GPT_NEOX_TOP, "gpt_neox.layers", _FUSED),
    "bloom": Family("BloomForCausalLM", "bloom", _bloom, _BLOOM, _BLOOM_TOP, _H, _FUSED),
    "falcon": _falcon_family,
    "mpt": Family("MptForCausalLM", "mpt", _mpt, _MPT, _MPT_TOP, "transformer.blocks"),
}
