"""What TensorRT-LLM 1.2.1 needs of a checkpoint's `config.json`, by `architecture`, to build its model of it.

Keys that a model reads, and that have no default there or one that is not the family's (NVIDIA/TensorRT-LLM,
tensorrt_llm/models/): modeling_utils.py, llama/{config@89fd9b7,model}.py, qwen/{config@373970a,model}.py,
gemma/{config@9df6d72,model@5dedf53}.py, phi3/{config@033f406,model@1479eaf}.py, gpt/{config,model}.py. A mixture's
`moe` goes to a dataclass, which takes its own fields alone (layers/moe.py@c388fec `MoeConfig`), and so does `mapping`.
"""

from __future__ import annotations

EVERY_MODEL = (
    *("architecture", "dtype", "logits_dtype", "vocab_size", "hidden_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "head_size", "intermediate_size", "max_position_embeddings"),
    *("hidden_act", "norm_epsilon", "position_embedding_type", "rotary_base", "rotary_scaling", "attn_bias"),
    *("mlp_bias", "use_parallel_embedding", "mapping", "quantization"),
)
_LLAMA = (*EVERY_MODEL, "residual_mlp")
_QWEN = (*EVERY_MODEL, "qwen_type", "seq_length", "use_logn_attn")
_QWEN_MOE = (*_QWEN, "moe", "moe_intermediate_size")
_GEMMA2 = (*EVERY_MODEL, "query_pre_attn_scalar", "final_logit_softcapping", "attn_logit_softcapping")
_GEMMA3 = ("query_pre_attn_scalar", "final_logit_softcapping", "_sliding_window_pattern", "rope_local_base_freq")
_GPT = ("gpt_variant", "bias", "q_scaling", "embedding_scale", "apply_query_key_layer_scaling", "rotary_pct")
MODEL_KEYS = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "MixtralForCausalLM": (*_LLAMA, "moe"),
    "GraniteForCausalLM": (
        *_LLAMA,
        *("embedding_multiplier", "attention_multiplier", "residual_multiplier", "output_multiplier_scale"),
    ),
    "Qwen2ForCausalLM": _QWEN,
    "Qwen2MoeForCausalLM": (*_QWEN_MOE, "moe_shared_expert_intermediate_size"),
    "Qwen3ForCausalLM": _QWEN,
    "Qwen3MoeForCausalLM": _QWEN_MOE,
    "GemmaForCausalLM": EVERY_MODEL,
    "Gemma2ForCausalLM": _GEMMA2,
    "Gemma3ForCausalLM": (*EVERY_MODEL, *_GEMMA3, "sliding_window"),
    "Phi3ForCausalLM": (*EVERY_MODEL, "rotary_pct"),
    "NemotronForCausalLM": (*EVERY_MODEL, *_GPT, "inner_layernorm", "norm_before_bmm1", "qk_layernorm"),
}
MAPPING_KEYS = ("world_size", "gpus_per_node", "tp_size", "pp_size", "cp_size", "moe_tp_size", "moe_ep_size")
MOE_KEYS = (
    *("num_experts", "shared_expert_intermediate_size", "top_k", "normalization_mode", "sparse_mixer_epsilon"),
    *("tp_mode", "device_limited_n_group", "device_limited_topk_group", "device_limited_routed_scaling_factor"),
)
# Activations by the names that `functional.ACT2FN` knows, and of those the ones that a mixture's kernel knows.
ACTIVATIONS = ("relu", "gelu", "gelu_pytorch_tanh", "silu", "squared-relu", "swiglu", "geglu")
MOE_ACTIVATIONS = ("gelu", "relu", "silu", "swiglu", "geglu")

# Part of the stand-in for `trtllm-build` (`gpu_host.py`): what the real one raises over `checkpoint`, its config.json.
CHECKS = f"""
for key in {MODEL_KEYS!r}[checkpoint["architecture"]]:
    if key not in checkpoint:
        raise AttributeError(f"'PretrainedConfig' object has no attribute '{{key}}'")
mapping = checkpoint["mapping"]
for key in mapping:
    if key not in {MAPPING_KEYS!r}:
        raise TypeError(f"Mapping.__init__() got an unexpected keyword argument '{{key}}'")
if mapping.get("moe_tp_size", mapping["tp_size"]) * mapping.get("moe_ep_size", 1) != mapping["tp_size"]:
    raise ValueError("tp_size must equal to moe_tp_size * moe_ep_size")
moe = checkpoint.get("moe") or {{}}
for key in moe:
    if key not in {MOE_KEYS!r}:
        raise TypeError(f"MoeConfig.__init__() got an unexpected keyword argument '{{key}}'")
if (moe.get("num_experts", 0) == 0) != (moe.get("top_k", 0) == 0):
    raise ValueError("Both or neither MoeConfig's num_experts and top_k must be set to 0")
if moe.get("num_experts", 0) % mapping.get("moe_ep_size", 1):
    raise ValueError("MixtureOfExperts - Number of experts is not a multiple of EP size")
if checkpoint["hidden_act"] not in (None, *({MOE_ACTIVATIONS!r} if moe else {ACTIVATIONS!r})):
    raise ValueError("unsupported activation function: " + checkpoint["hidden_act"])
if checkpoint["architecture"].startswith("Gemma") and mapping["tp_size"] > 1 and checkpoint["vocab_size"]:
    assert checkpoint["use_parallel_embedding"]  # its configuration has it so, and the shards must match
if checkpoint["architecture"] == "Phi3ForCausalLM" and mapping["pp_size"] > 1:
    raise AttributeError("'Phi3Model' neither sends nor receives hidden states")
if checkpoint["position_embedding_type"] == "long_rope":
    for key in ("longrope_scaling_short_factors", "longrope_scaling_long_factors", "original_max_position_embeddings"):
        if key not in checkpoint:
            raise AttributeError(f"'Phi3Config' object has no attribute '{{key}}'")
"""
