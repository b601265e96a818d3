"""NeMo and Megatron-Bridge checkpoints, made by the inverse parallel, come back as the HuggingFace ones they were."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from build_scripts.architectures import check_weights, decoder_of
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.write import write_shards
from build_scripts.weights.hf_writer import write_huggingface
from build_scripts.weights.opening import open_checkpoint
from tests.build_scripts.checkpoints import LLAMA3_SCALING, make_checkpoint
from tests.build_scripts.tensorrt_llm.sharding.test_sharding import recombined
from tests.build_scripts.weights.nemo.nemo_checkpoints import make_nemo1, megatron_state, nemo1_members
from tests.build_scripts.weights.nemo.torch_dist_checkpoints import make_bridge, make_nemo2, stacked

SMALL: dict[str, Any] = {"num_hidden_layers": 3, "hidden_size": 16, "intermediate_size": 12, "vocab_size": 37}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 8}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("mistral", {"sliding_window": 32}),
    "qwen2": ("qwen2", {}),
    "qwen2, tied": ("qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "qwen3, wide heads": ("qwen3", {"head_dim": 6}),
}
RANKS = [(1, 1), (2, 1), (1, 2), (2, 2)]


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family, config = FAMILIES[request.param]
    return make_checkpoint(tmp_path_factory.mktemp("families") / "checkpoint", family, "bfloat16", **SMALL, **config)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("llama") / "checkpoint", **SMALL)


def extras(checkpoint: Path) -> dict[str, Any]:
    """What the configuration of a family has beside Llama's."""
    config = json.loads((checkpoint / "config.json").read_text())
    return {"window_size": [config["sliding_window"], 0]} if config.get("sliding_window") else {}


def assert_same(path: Path, checkpoint: Path, output: Path) -> None:
    """Written out as HuggingFace, it is the checkpoint: bit by bit, and as a decoder."""
    view = open_checkpoint(path, "x")
    write_huggingface(view, output)
    found, expected = load_file(output / "model.safetensors"), load_file(checkpoint / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    original = json.loads((checkpoint / "config.json").read_text())
    written = json.loads((output / "config.json").read_text())
    assert decoder_of(written, "x") == decoder_of(original, "x")
    check_weights(decoder_of(written, "x"), open_checkpoint(output, "x").weights, "x")


@pytest.mark.parametrize(("tp", "pp"), RANKS)
def test_a_nemo_archive_of_any_ranks_comes_back_bit_by_bit(checkpoint: Path, tmp_path: Path, tp: int, pp: int) -> None:
    archive = make_nemo1(tmp_path / "x.nemo", checkpoint, tp=tp, pp=pp, **extras(checkpoint))
    assert_same(archive, checkpoint, tmp_path / "hf")


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("layout", ["stacked", "by layer"])
def test_a_nemo_2_directory_comes_back_bit_by_bit(checkpoint: Path, tmp_path: Path, tp: int, layout: str) -> None:
    state = megatron_state(checkpoint)
    state = stacked(state) if layout == "stacked" else state
    assert_same(make_nemo2(tmp_path / "x", checkpoint, state, tp, **extras(checkpoint)), checkpoint, tmp_path / "hf")


@pytest.mark.parametrize("part", ["", "iter_0000010"])
def test_a_megatron_bridge_directory_comes_back_bit_by_bit(checkpoint: Path, tmp_path: Path, part: str) -> None:
    made = make_bridge(tmp_path / "x", checkpoint, stacked(megatron_state(checkpoint)), 2, **extras(checkpoint))
    assert_same(made / part, checkpoint, tmp_path / "hf")


def test_a_distributed_checkpoint_inside_a_nemo_archive_is_read_in_place(llama: Path, tmp_path: Path) -> None:
    nemo2 = make_nemo2(tmp_path / "nemo2", llama, stacked(megatron_state(llama)), 2)
    with tarfile.open(tmp_path / "x.nemo", "w:") as archive:
        unpacked = unpack(tmp_path / "config", {"model_config.yaml": nemo1_members(llama)["model_config.yaml"]})
        archive.add(unpacked / "model_config.yaml", "./model_config.yaml")
        archive.add(nemo2 / "weights", "./model_weights")
    assert_same(tmp_path / "x.nemo", llama, tmp_path / "hf")


def unpack(directory: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


@pytest.mark.parametrize(("tp", "pp"), RANKS)
def test_an_unpacked_archive_is_the_archive(llama: Path, tmp_path: Path, tp: int, pp: int) -> None:
    assert_same(unpack(tmp_path / "x", nemo1_members(llama, tp, pp)), llama, tmp_path / "hf")


def test_the_names_without_transformer_engine_are_read_too(llama: Path, tmp_path: Path) -> None:
    assert_same(make_nemo1(tmp_path / "x.nemo", llama, engine=False), llama, tmp_path / "hf")


@pytest.mark.parametrize(
    ("own", "scaling"),
    [
        ({"seq_len_interpolation_factor": 2.0}, {"rope_type": "linear", "factor": 2.0}),
        (
            {"scale_factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "old_context_len": 64},
            LLAMA3_SCALING,
        ),
        ({"scale_positional_embedding": True}, {**LLAMA3_SCALING, "original_max_position_embeddings": 8192}),
        (
            {"rope_scaling": True, "rope_scaling_factor": 32.0},
            {**LLAMA3_SCALING, "factor": 32.0, "original_max_position_embeddings": 8192},
        ),
    ],
)
def test_rope_scaling_is_taken_over(llama: Path, tmp_path: Path, own: dict[str, Any], scaling: dict[str, Any]) -> None:
    view = open_checkpoint(make_nemo1(tmp_path / "x.nemo", llama, rotary_base=500000, **own), "x")
    rope = decoder_of(view.config, "x").rope
    assert (rope.theta, rope.scaling) == (500000.0, scaling)


def test_logits_are_those_of_the_original(llama: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    write_huggingface(open_checkpoint(make_nemo1(tmp_path / "x.nemo", llama, tp=2, pp=2), "x"), tmp_path / "hf")
    prompt = torch.tensor([[3, 1, 4, 15, 9, 2, 6]])
    with torch.no_grad():
        original, written = (
            AutoModelForCausalLM.from_pretrained(path)(prompt).logits for path in (llama, tmp_path / "hf")
        )
    assert torch.equal(original, written)


def test_a_nemo_checkpoint_is_sharded_without_a_detour(llama: Path, tmp_path: Path) -> None:
    view = open_checkpoint(make_nemo1(tmp_path / "x.nemo", llama, tp=2), "x")
    (tmp_path / "shards").mkdir()
    write_shards(view, decoder_of(view.config, "x"), Parallelism(2, 2), "float32", tmp_path / "shards", block_bytes=100)
    ranks = [load_file(tmp_path / "shards" / f"rank{rank}.safetensors") for rank in range(4)]
    found = recombined(tmp_path / "shards", ranks)
    assert all(torch.equal(found[name], tensor) for name, tensor in load_file(llama / "model.safetensors").items())
