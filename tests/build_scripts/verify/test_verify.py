"""The shards are run: as one model over all ranks they give the logits that transformers gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from build_scripts.architectures import decoder_of
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.write import write_shards
from build_scripts.verify.compare import verify_shards
from build_scripts.verify.memory import check_memory
from build_scripts.verify.prompts import make_prompts, padded
from build_scripts.verify.result import PromptResult, Verification
from build_scripts.weights.huggingface import open_huggingface
from build_scripts.weights.opening import open_checkpoint
from tests.build_scripts.checkpoints import ARCHITECTURES, make_checkpoint, odd_config, write_plain
from tests.build_scripts.tensorrt_llm.sharding.test_sharding import FAMILIES, GRID, shard
from tests.build_scripts.weights.nemo.nemo_checkpoints import make_nemo1
from triton_repo.contract.errors import BuildError

THETA = 500000.0
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **FAMILIES,
    "one kv head for all": ("qwen3", {"num_key_value_heads": 1}),
    "rope stretched evenly": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": THETA}},
    ),
    "rope that grows beyond its positions": (
        "qwen2",
        {"max_position_embeddings": 24, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
    ),
    "mistral with a window": ("mistral", {"sliding_window": 12}),
}


def verify(checkpoint: Path, shards: Path) -> Verification:
    return verify_shards(shards, open_huggingface(checkpoint, "tiny"))


@pytest.fixture(scope="module", params=MODELS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family, config = MODELS[request.param]
    return make_checkpoint(tmp_path_factory.mktemp("models") / "checkpoint", family, **config)


@pytest.mark.parametrize(("tp", "pp"), GRID)
def test_all_ranks_together_compute_what_transformers_computes(
    checkpoint: Path, tmp_path: Path, tp: int, pp: int
) -> None:
    shard(checkpoint, tmp_path / "shards", tp, pp)
    found = verify(checkpoint, tmp_path / "shards")
    assert found.passed
    assert found.max_abs_diff <= 1e-4
    assert sum(prompt.top1 for prompt in found.prompts) == found.tokens
    assert [layer.layer for layer in found.layers] == list(range(5))
    assert [layer.stage for layer in found.layers] == {1: [0] * 5, 2: [0, 0, 0, 1, 1], 3: [0, 0, 1, 1, 2]}[pp]
    assert found.rounding is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounded_shards_are_measured_against_equally_rounded_weights(tmp_path: Path, dtype: str) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "qwen2")
    shard(checkpoint, tmp_path / "shards", 4, 2, dtype)
    found = verify(checkpoint, tmp_path / "shards")
    assert found.passed
    assert found.rounding is not None
    assert found.rounding.max_abs_diff > 10 * found.max_abs_diff


def test_rounding_is_not_spoken_of_where_there_is_none(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", dtype="bfloat16")
    shard(checkpoint, tmp_path / "shards", 2, 1, "bfloat16")
    found = verify(checkpoint, tmp_path / "shards")
    assert found.passed
    assert found.rounding is None


def test_a_source_in_another_format_is_run_through_its_reader(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", tie_word_embeddings=True)
    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    shard(checkpoint, tmp_path / "shards", 2, 2)
    assert verify(checkpoint, tmp_path / "shards").passed


def test_a_nemo_source_is_run_as_it_is(tmp_path: Path) -> None:
    source = make_checkpoint(
        tmp_path / "checkpoint", "qwen2", rope_parameters={"rope_type": "default", "rope_theta": 1e6}
    )
    view = open_checkpoint(make_nemo1(tmp_path / "x.nemo", source, tp=2, pp=2), "x")
    (tmp_path / "shards").mkdir()
    write_shards(view, decoder_of(view.config, "x"), Parallelism(4, 3), "float32", tmp_path / "shards")
    for origin in (view, open_huggingface(source, "tiny")):
        assert verify_shards(tmp_path / "shards", origin).passed


ODD_SHAPES = st.fixed_dictionaries(
    {
        "tp": st.sampled_from([1, 2, 4]),
        "pp": st.sampled_from([1, 2, 3]),
        "family": st.sampled_from(sorted(ARCHITECTURES)),
        "heads": st.sampled_from([4, 8, 12]),
        "kv": st.sampled_from([1, 2, 4]),
        "head_size": st.sampled_from([2, 6, 8]),
        "hidden": st.integers(1, 4),  # times the heads: transformers wants a multiple of them
        "inner": st.integers(1, 9).map(lambda value: 4 * value),
        "layers": st.integers(3, 7),
        "vocabulary": st.integers(1, 40),
        "tied": st.booleans(),
        "bias": st.booleans(),
        "experts": st.sampled_from([1, 2]),
    }
)


@settings(max_examples=25, derandomize=True)
@given(ODD_SHAPES)
def test_any_shape_that_the_rules_allow_computes_the_same(tmp_path_factory: pytest.TempPathFactory, shape: Any) -> None:
    torch.manual_seed(7)
    config = odd_config(shape, shape["hidden"] * shape["heads"])
    directory = tmp_path_factory.mktemp("odd")
    shapes = decoder_of(config, "odd").weight_shapes()
    weights = {
        name: torch.randn(size) * size[-1] ** -0.5 if len(size) > 1 else torch.rand(size) + 0.5
        for name, size in shapes.items()
    }
    checkpoint = write_plain(directory / "checkpoint", config, weights)
    experts = shape["experts"] if "num_experts_per_tok" in config and shape["tp"] % shape["experts"] == 0 else 1
    pp = 1 if shape["family"] == "phi3" else shape["pp"]
    shard(checkpoint, directory / "shards", shape["tp"], pp, experts=experts)
    assert verify(checkpoint, directory / "shards").passed


def test_prompts_have_several_lengths_and_both_ends_of_the_vocabulary_and_are_always_the_same() -> None:
    prompts = make_prompts(101)
    assert prompts == make_prompts(101)
    assert len({len(prompt.tokens) for prompt in prompts}) >= 5
    assert {token for prompt in prompts for token in prompt.tokens} >= {0, 1, 99, 100}
    assert all(0 <= token < 101 for prompt in prompts for token in prompt.tokens)
    assert padded(prompts).shape == (len(prompts), 33)


def test_no_prompt_is_longer_than_the_window_and_one_goes_where_the_rope_changes() -> None:
    assert max(len(prompt.tokens) for prompt in make_prompts(7, window=12)) == 12
    assert max(len(prompt.tokens) for prompt in make_prompts(7, beyond=64)) == 72
    assert max(len(prompt.tokens) for prompt in make_prompts(7, beyond=4096)) == 33


def test_a_configuration_that_transformers_does_not_run_is_refused_with_its_reason(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", head_dim=6)
    shard(checkpoint, tmp_path / "shards", 2, 1)
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "rms_norm_eps": "small"}))
    with pytest.raises(BuildError, match="rms_norm_eps"):
        verify(checkpoint, tmp_path / "shards")


def test_a_model_that_memory_cannot_hold_is_refused_with_what_it_takes(tmp_path: Path) -> None:
    view = open_huggingface(make_checkpoint(tmp_path / "checkpoint"), "tiny")
    with pytest.raises(BuildError, match=r"tiny: --verify needs about [\d.]+ GB of memory; [\d.]+ GB are free"):
        check_memory(decoder_of(view.config, "tiny"), view, tokens=10**12)


def test_noise_is_allowed_to_grow_with_the_logits_and_nothing_else_is() -> None:
    def prompt(difference: float, scale: float) -> PromptResult:
        return PromptResult(name="x", tokens=1, max_abs_diff=difference, worst_position=0, top1=1, scale=scale)

    assert prompt(2e-3, 30.0).within(1e-4)
    assert not prompt(2e-3, 1.0).within(1e-4)
    assert not prompt(float("nan"), 30.0).within(1e-4)
