"""Qwen 2 and 3; of their models that see, the part that reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from build_scripts.weights.gguf.families.family import ATTENTION, EXPERTS, HEAD_NORMS, LLAMA, Family, shared_expert
from build_scripts.weights.gguf.families.layouts import one_row
from build_scripts.weights.gguf.model import Model


def qwen2(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "use_sliding_window": False}


def qwen3(model: Model) -> dict[str, Any]:
    return {**model.decoder(), "attention_bias": False, "use_sliding_window": False}


def qwen2moe(model: Model) -> dict[str, Any]:
    shared = model.count("expert_shared_feed_forward_length", model.rows("ffn_gate_shexp.weight"))
    return {**qwen2(model), **_experts(model), "shared_expert_intermediate_size": shared, "norm_topk_prob": False}


def qwen3moe(model: Model) -> dict[str, Any]:
    return {**qwen3(model), **_experts(model), "norm_topk_prob": True}


def _experts(model: Model) -> dict[str, Any]:
    return {
        "num_experts": model.experts,
        "num_experts_per_tok": model.count("expert_used_count"),
        "moe_intermediate_size": model.count("expert_feed_forward_length"),
        "decoder_sparse_step": 1,
    }


_SHARED: Final = {"ffn_gate_inp_shexp": "mlp.shared_expert_gate", **shared_expert("mlp.shared_expert")}
_QWEN2: Final = Family("Qwen2ForCausalLM", "qwen2", qwen2, LLAMA)
_QWEN3: Final = Family("Qwen3ForCausalLM", "qwen3", qwen3, LLAMA | HEAD_NORMS)
_QWEN3_MOE: Final = Family("Qwen3MoeForCausalLM", "qwen3_moe", qwen3moe, ATTENTION | HEAD_NORMS | EXPERTS)

# Of text alone, the three positions that a token has in the models that see are one.
FAMILIES: Final[Mapping[str, Family]] = {
    "qwen2": _QWEN2,
    "qwen2vl": _QWEN2,
    "qwen3": _QWEN3,
    "qwen3vl": _QWEN3,
    "qwen2moe": Family(
        "Qwen2MoeForCausalLM",
        "qwen2_moe",
        qwen2moe,
        ATTENTION | EXPERTS | _SHARED,
        layouts={"ffn_gate_inp_shexp": one_row},
    ),
    "qwen3moe": _QWEN3_MOE,
    "qwen3vlmoe": _QWEN3_MOE,
}
