"""`config.json` of a TensorRT-LLM checkpoint, as `trtllm-build` 1.2 reads it (models/{llama,qwen}/config.py)."""

from __future__ import annotations

from typing import Any, Final

from build_scripts.architectures import Decoder
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism

# QWenConfig gives the key no default, and its model reads it: the length up to which log-n scaling, which is off,
# leaves attention as it is (models/qwen/{config,model}.py).
_QWEN_SEQ_LENGTH: Final = 8192
_QWEN: Final = ("qwen2", "qwen3")


def checkpoint_config(decoder: Decoder, parallel: Parallelism, dtype: str) -> dict[str, Any]:
    """For weights in `dtype`, not quantized."""
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
        "hidden_act": decoder.hidden_act,
        "norm_epsilon": decoder.norm_epsilon,
        "position_embedding_type": "rope_gpt_neox",
        "rotary_base": decoder.rope.theta,
        "rotary_scaling": None if decoder.rope.scaling is None else dict(decoder.rope.scaling),
        "rotary_embedding_dim": decoder.head_size,
        "attn_bias": decoder.qkv_bias,
        "mlp_bias": decoder.mlp_bias,
        "qk_layernorm": decoder.qk_norm,
        "use_parallel_embedding": False,
        "embedding_sharding_dim": 0,
        "tie_word_embeddings": decoder.tied_embeddings,
        "mapping": _mapping(parallel),
        "quantization": {"quant_algo": None, "kv_cache_quant_algo": None},
        "disable_weight_only_quant_plugin": False,
    }
    if decoder.family in _QWEN:
        return config | {"qwen_type": decoder.family, "seq_length": _QWEN_SEQ_LENGTH, "use_logn_attn": False}
    return config | {"residual_mlp": False, "remove_duplicated_kv_heads": False}


def _mapping(parallel: Parallelism) -> dict[str, int]:
    """Exactly the keys that TensorRT-LLM needs: it rejects others."""
    return {
        "world_size": parallel.world_size,
        "gpus_per_node": parallel.gpus_per_node,
        "tp_size": parallel.tp_size,
        "pp_size": parallel.pp_size,
        "cp_size": 1,
    }
