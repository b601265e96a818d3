"""A `config.json` with one value of another kind: rejected by its key, or taken and then planned."""

from __future__ import annotations

import json
from typing import Any

import pytest

from build_scripts.architectures import FAMILIES, decoder_of
from build_scripts.architectures.config_values import MOST_LAYERS
from build_scripts.tensorrt_llm.sharding.layout import rank_files
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.trtllm_config import checkpoint_config
from triton_repo.contract.errors import BuildError

SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 101,
    "head_dim": 12,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
    "rope_parameters": None,
    "rope_scaling": None,
    "rope_theta": 10000.0,
}
_PLAIN: dict[str, Any] = {"hidden_act": "silu", "rms_norm_eps": 1e-6}
_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2}
_QWEN: dict[str, Any] = {**_PLAIN, "use_sliding_window": False}
_QWEN_EXPERTS: dict[str, Any] = {
    **_QWEN,
    **_EXPERTS,
    "num_experts": 4,
    "moe_intermediate_size": 16,
    "norm_topk_prob": True,
    "mlp_only_layers": [],
    "decoder_sparse_step": 1,
}
_BIASES: dict[str, Any] = {"attention_bias": False, "mlp_bias": False}
_GEMMA: dict[str, Any] = {"hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "attention_bias": False}
_GEMMA2: dict[str, Any] = {
    **_GEMMA,
    "query_pre_attn_scalar": 256,
    "sliding_window": 64,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "layer_types": ["sliding_attention", "full_attention"],
}
# Every key that a family reads, beside SIZES.
OWN: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {**_PLAIN, **_BIASES},
    "MistralForCausalLM": {**_PLAIN, "sliding_window": 64},
    "MixtralForCausalLM": {**_PLAIN, **_EXPERTS, "num_local_experts": 4, "sliding_window": 64},
    "Qwen2ForCausalLM": _QWEN,
    "Qwen2MoeForCausalLM": {**_QWEN_EXPERTS, "qkv_bias": True, "shared_expert_intermediate_size": 24},
    "Qwen3ForCausalLM": {**_QWEN, "attention_bias": False},
    "Qwen3MoeForCausalLM": {**_QWEN_EXPERTS, "attention_bias": False},
    "GemmaForCausalLM": _GEMMA,
    "Gemma2ForCausalLM": _GEMMA2,
    "Gemma3ForCausalLM": {**_GEMMA2, "rope_local_base_freq": 1e4, "use_bidirectional_attention": False},
    "Phi3ForCausalLM": {**_PLAIN, "sliding_window": 64, "partial_rotary_factor": 0.5},
    "NemotronForCausalLM": {
        **_BIASES, "hidden_act": "relu2", "norm_eps": 1e-5, "partial_rotary_factor": 0.5, "rope_percent": 0.5
    },
    "GraniteForCausalLM": {
        **_PLAIN,
        **_BIASES,
        "embedding_multiplier": 1.0,
        "attention_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "logits_scaling": 1.0,
    },
}  # fmt: skip
# Of the keys above none can have these.
NEVER: list[Any] = [-1, 0, "x", float("nan"), [0], {"x": 0}]
SOMETIMES: list[Any] = [2**31 - 1, 2**40, [], {}, None, True, 1e-9, 1e300, 5e-324, 10**400]
# Of the objects that say how a rotary embedding is stretched.
SECTIONS: list[Any] = [
    {key: value} for key in ("rope_theta", "rope_type", "partial_rotary_factor") for value in NEVER
] + [{"rope_type": kind, "factor": value} for kind in ("linear", "dynamic", "llama3", "longrope") for value in NEVER]
_SECTION_KEYS = ("rope_parameters", "rope_scaling")


def config_of(architecture: str) -> dict[str, Any]:
    return {**SIZES, **OWN[architecture], "architectures": [architecture]}


def rejection(config: dict[str, Any]) -> str:
    """Empty where it is planned."""
    try:
        plan(config)
    except BuildError as error:
        return str(error)
    return ""


def plan(config: dict[str, Any]) -> None:
    """As far as the values of a configuration reach: TensorRT-LLM's configuration, and the header of each file."""
    decoder = decoder_of(config, "x")
    assert decoder.num_layers <= MOST_LAYERS
    json.dumps(checkpoint_config(decoder, Parallelism(), "float16"), allow_nan=False)
    assert decoder.parameters > 0
    rank_files(decoder, Parallelism(), "float16")


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_value_of_another_kind_is_rejected_by_its_key_or_planned(architecture: str) -> None:
    config = config_of(architecture)
    plan(config)
    for key in {**SIZES, **OWN[architecture]}:
        for value in NEVER:
            if key in _SECTION_KEYS and isinstance(value, dict):
                continue
            assert key in rejection({**config, key: value}), value
        for value in SOMETIMES:
            rejected = rejection({**config, key: value})
            assert not rejected or key in rejected


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_broken_value_of_a_rotary_embedding_is_rejected_by_its_key(architecture: str) -> None:
    config = config_of(architecture)
    nested = ("full_attention", "sliding_attention") if architecture == "Gemma3ForCausalLM" else ()
    for section in SECTIONS:
        for given in (section, *({kind: section} for kind in nested)):
            for key in _SECTION_KEYS[: 1 if nested else None]:
                assert key in rejection({**config, key: given}), given


@pytest.mark.parametrize("scalar", [1e-9, 0.1, 7, 168, 256.0, 1e30])
def test_the_scale_of_scores_reaches_tensorrt_llm_as_it_is_given(scalar: float) -> None:
    decoder = decoder_of({**config_of("Gemma3ForCausalLM"), "query_pre_attn_scalar": scalar}, "x")
    assert checkpoint_config(decoder, Parallelism(), "float16")["query_pre_attn_scalar"] == scalar


MIXTURES = {
    "MixtralForCausalLM": "num_local_experts",
    "Qwen2MoeForCausalLM": "num_experts",
    "Qwen3MoeForCausalLM": "num_experts",
}


@pytest.mark.parametrize("architecture", MIXTURES)
def test_the_experts_of_a_mixture_are_a_sane_number_and_more_than_compute_a_token(architecture: str) -> None:
    key, config = MIXTURES[architecture], config_of(architecture)

    def complaint(**values: int) -> str:
        with pytest.raises(BuildError) as refused:
            decoder_of({**config, **values}, "x")
        return str(refused.value)

    assert f"{key} = 4097; must be a whole number ≥ 1 and ≤ 4096" in complaint(**{key: 4097})
    assert f"{key} = 257; must be a whole number ≥ 1 and ≤ 256" in complaint(**{key: 257, "num_hidden_layers": 256})
    assert f"{key} = 0; must be a whole number ≥ 1 and ≤ 4096" in complaint(**{key: 0})
    assert f"{key} = 1; must be ≥ 2 and ≤ 4096" in complaint(**{key: 1, "num_experts_per_tok": 1})
    assert "num_experts_per_tok = 5; must be ≤ 4, the number" in complaint(**{key: 4, "num_experts_per_tok": 5})
    experts = decoder_of({**config, key: 4, "num_experts_per_tok": 4}, "x").experts
    assert experts is not None
    assert (experts.count, experts.per_token) == (4, 4)
