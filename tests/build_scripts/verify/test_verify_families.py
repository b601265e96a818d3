"""Every family's own: experts, bounds, factors, norms that are stored less 1, two rotary embeddings, fused weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from build_scripts.verify.compare import verify_shards
from build_scripts.verify.result import Verification
from build_scripts.weights.huggingface import open_huggingface
from tests.build_scripts.checkpoints import make_checkpoint
from tests.build_scripts.tensorrt_llm.sharding.test_sharding import shard
from triton_repo.contract.errors import BuildError

LONGROPE: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.5, 2.0],
    "long_factor": [4.0, 5.0, 6.0],
    "original_max_position_embeddings": 64,
}
HALF: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("mixtral", {}),
    "mixtral, wide heads": ("mixtral", {"head_dim": 16, "num_experts_per_tok": 1}),
    "qwen2-moe, with a shared expert": ("qwen2_moe", {}),
    "qwen2-moe, weights that sum to 1": ("qwen2_moe", {"norm_topk_prob": True}),
    "qwen3-moe": ("qwen3_moe", {}),
    "qwen3-moe, tied, weights as they are": ("qwen3_moe", {"tie_word_embeddings": True, "norm_topk_prob": False}),
    "gemma": ("gemma", {"num_key_value_heads": 1}),
    "gemma 2": ("gemma2", {}),
    "gemma 2 without bounds": ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
    "gemma 3": ("gemma3_text", {}),
    "gemma 3, one kv head": ("gemma3_text", {"num_key_value_heads": 1, "sliding_window_pattern": 3}),
    "phi-3": ("phi3", {}),
    "phi-3.5, long": ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 64}),
    "phi-4-mini": (
        "phi3",
        {
            "rope_parameters": {
                **LONGROPE,
                "partial_rotary_factor": 0.75,
                "short_factor": [1.0, 2.0, 3.0],
                "long_factor": [4.0, 5.0, 6.0],
            },
            "num_attention_heads": 6,
            "original_max_position_embeddings": 64,
            "tie_word_embeddings": True,
        },
    ),
    "nemotron": ("nemotron", {}),
    "minitron, half of each head turned": ("nemotron", {"rope_parameters": HALF, "tie_word_embeddings": True}),
    "granite": ("granite", {}),
    "granite with biases": ("granite", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
}
SPLITS = [(1, 1, 1), (2, 3, 1), (4, 2, 1)]
EXPERT_SPLITS = [(2, 2, 2), (4, 1, 2), (4, 1, 4)]


def verify(checkpoint: Path, shards: Path) -> Verification:
    return verify_shards(shards, open_huggingface(checkpoint, "tiny"))


@pytest.mark.parametrize("model", MODELS)
def test_all_ranks_together_compute_what_transformers_computes(tmp_path: Path, model: str) -> None:
    family, config = MODELS[model]
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family, **config)
    mixture = family in {"mixtral", "qwen2_moe", "qwen3_moe"}
    for tp, pp, experts in [*SPLITS, *(EXPERT_SPLITS if mixture else ())]:
        if config.get("num_attention_heads", 8) % tp == 0:
            shards = tmp_path / f"{tp}-{pp}-{experts}"
            shard(checkpoint, shards, tp, 1 if family == "phi3" else pp, experts=experts)
            found = verify(checkpoint, shards)
            assert found.passed, found.failure()
            assert sum(prompt.top1 for prompt in found.prompts) == found.tokens


@pytest.mark.parametrize("family", ["qwen3_moe", "gemma2", "nemotron"])
def test_rounded_shards_are_measured_against_equally_rounded_weights(tmp_path: Path, family: str) -> None:
    """Norms are rounded as factors, which they are in the shards, and routers not at all."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family)
    shard(checkpoint, tmp_path / "shards", 2, 2, "bfloat16")
    found = verify(checkpoint, tmp_path / "shards")
    assert found.passed, found.failure()
    assert found.rounding is not None
    assert found.rounding.max_abs_diff > 10 * found.max_abs_diff


Tensors = dict[str, torch.Tensor]
LAYER = "transformer.layers"


def halves_exchanged(name: str) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        dim = tensors[name].ndim - 2
        tensors[name] = torch.cat(tensors[name].chunk(2, dim)[::-1], dim)

    return edit


def put(name: str, place: tuple[int, ...], value: float) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        tensors[name][place] = value

    return edit


def minus_1(name: str) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        tensors[name] -= 1

    return edit


# Family, what is broken in rank 1 of 2 × 1: the place and the tensor that must be named.
BROKEN: dict[str, tuple[str, Callable[[Tensors], None], str, str]] = {
    "up and gate of all experts": (
        "mixtral", halves_exchanged(f"{LAYER}.2.mlp.fc.weight"), "layer 2 (stage 0), expert 0", "mlp.fc.weight[0]",
    ),
    "an expert that few prompts reach": (
        "qwen3_moe", put(f"{LAYER}.3.mlp.proj.weight", (6, 5, 2), 0.0), "layer 3 (stage 0), expert 6", "proj.weight[6]",
    ),
    "the router": ("qwen3_moe", put(f"{LAYER}.1.mlp.router.weight", (3, 2), 9.0), "layer 1 (stage 0), mlp", "router"),
    "the shared expert": (
        "qwen2_moe", halves_exchanged(f"{LAYER}.0.mlp.shared_expert.fc.weight"), "layer 0", "shared_expert.fc (up)",
    ),
    "the gate of the shared expert": (
        "qwen2_moe", put(f"{LAYER}.4.mlp.shared_expert_gate.weight", (0, 1), 5.0), "layer 4", "mlp.shared_expert_gate",
    ),
    "up and gate in one": ("phi3", halves_exchanged(f"{LAYER}.1.mlp.fc.weight"), "layer 1 (stage 0), mlp", "fc (up)"),
    "a norm as it is stored": (
        "gemma2", minus_1(f"{LAYER}.0.pre_feedforward_layernorm.weight"), "layer 0", "pre_feedforward_layernorm",
    ),
    "a norm of heads as it is stored": (
        "gemma3_text", minus_1(f"{LAYER}.3.attention.q_layernorm.weight"), "layer 3", "attention.q_layernorm",
    ),
    "a bias of a layer norm": (
        "nemotron", put(f"{LAYER}.2.post_layernorm.bias", (3,), 9.0), "layer 2", "post_layernorm",
    ),
    "a row of a split embedding": (
        "gemma", put("transformer.vocab_embedding.weight", (20, 4), 9.0), "token embedding", "vocab_embedding.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_shard_fails_and_is_named(tmp_path: Path, broken: str) -> None:
    family, edit, place, tensor = BROKEN[broken]
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family)
    shard(checkpoint, tmp_path / "shards", 2, 1)
    path = tmp_path / "shards" / "rank1.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    found = verify(checkpoint, tmp_path / "shards")
    assert not found.passed
    assert found.fault is not None
    assert found.fault.place.startswith(place)
    assert found.fault.tensor.endswith(tensor)
    assert found.fault.tp_ranks == (1,)


# Keys of config.json that decide what a class computes: with another value the logits differ.
KEYS: dict[str, tuple[str, Any]] = {
    "query_pre_attn_scalar": ("gemma2", 30.0),
    "attn_logit_softcapping": ("gemma2", 0.5),
    "final_logit_softcapping": ("gemma2", 3.0),
    "rope_local_base_freq": ("gemma3_text", 500.0),
    "_sliding_window_pattern": ("gemma3_text", 3),
    "rotary_pct": ("nemotron", 1.0),
    "embedding_multiplier": ("granite", 1.0),
    "attention_multiplier": ("granite", 1.0),
    "residual_multiplier": ("granite", 1.0),
    "output_multiplier_scale": ("granite", 1.0),
}


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_key_shows_in_the_logits(tmp_path: Path, key: str) -> None:
    family, value = KEYS[key]
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family, num_hidden_layers=3)
    shard(checkpoint, tmp_path / "shards", 1, 1)
    path = tmp_path / "shards" / "config.json"
    written = json.loads(path.read_text())
    assert written[key] != value
    path.write_text(json.dumps({**written, key: value}))
    assert not verify(checkpoint, tmp_path / "shards").passed


def test_factors_that_no_prompt_sees_are_compared_as_they_are_written(tmp_path: Path) -> None:
    family, config = MODELS["phi-3.5, long"]
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family, **config)
    shard(checkpoint, tmp_path / "shards", 1, 1)
    path = tmp_path / "shards" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "longrope_scaling_long_factors": [4.0, 5.0, 7.0]}))
    with pytest.raises(
        BuildError, match=r"longrope_scaling_long_factors = \[4\.0, 5\.0, 7\.0\]; tiny has \[4\.0, 5\.0"
    ):
        verify(checkpoint, tmp_path / "shards")
