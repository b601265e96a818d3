"""What the ranks hold is what the checkpoint holds: recombined by rules written down a second time, bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from build_scripts.architectures import check_weights, decoder_of
from build_scripts.tensorrt_llm.sharding.layout import rank_files
from build_scripts.tensorrt_llm.sharding.limits import check_adapters, check_parallelism
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.write import write_shards
from build_scripts.weights.huggingface import open_huggingface
from build_scripts.weights.rows import BLOCK_BYTES
from tests.build_scripts.checkpoints import LLAMA3_SCALING, PLAIN_FAMILIES, make_checkpoint, odd_config, write_plain
from triton_repo.contract.errors import BuildError, SpecError

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama 2": ("llama", {"num_key_value_heads": 8}),
    "llama 3.1": ("llama", {"rope_parameters": {**LLAMA3_SCALING, "rope_theta": 500000.0}}),
    "llama 3.2, tied": ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral, wide heads": ("mistral", {"head_dim": 16, "num_key_value_heads": 4}),
    "qwen2, tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2.5": ("qwen2", {}),
    "qwen3": ("qwen3", {"num_key_value_heads": 4}),
    "qwen3, tied": ("qwen3", {"tie_word_embeddings": True}),
}
COPIED = {
    "attention.dense.bias": "self_attn.o_proj.bias",
    "mlp.proj.bias": "mlp.down_proj.bias",
    "input_layernorm.weight": "input_layernorm.weight",
    "post_layernorm.weight": "post_attention_layernorm.weight",
    "attention.q_layernorm.weight": "self_attn.q_norm.weight",
    "attention.k_layernorm.weight": "self_attn.k_norm.weight",
}
GRID = [(tp, pp) for tp in (1, 2, 4) for pp in (1, 2, 3)]


def shard(  # noqa: PLR0917
    checkpoint: Path,
    output: Path,
    tp: int,
    pp: int,
    dtype: str = "float32",
    block_bytes: int = BLOCK_BYTES,
    experts: int = 1,
) -> list[dict[str, torch.Tensor]]:
    view = open_huggingface(checkpoint, "tiny")
    decoder, parallel = decoder_of(view.config, view.source), Parallelism(tp, pp, moe_ep_size=experts)
    check_weights(decoder, view.weights, view.source)
    check_parallelism(decoder, parallel, "")
    output.mkdir()
    write_shards(view, decoder, parallel, dtype, output, block_bytes=block_bytes)
    return [load_file(output / f"rank{rank}.safetensors") for rank in range(tp * pp)]


class Recombined:
    """The second opinion: HuggingFace's tensors from the ranks', by the published layout, with none of our own code.

    Knows `config.json` of the shards alone.
    """

    def __init__(self, config: dict[str, Any], ranks: list[dict[str, torch.Tensor]]) -> None:
        self.config = config
        tp = config["mapping"]["tp_size"]
        self.stages = [ranks[start : start + tp] for start in range(0, len(ranks), tp)]
        self.tp = tp

    def tensors(self) -> dict[str, torch.Tensor]:
        first, last = self.stages[0], self.stages[-1]
        vocabulary = self.config["vocab_size"]
        result = {"model.embed_tokens.weight": self.same(first, "transformer.vocab_embedding.weight")}
        layer = 0
        for stage in self.stages:
            names = {name.split(".")[2] for name in stage[0] if name.startswith("transformer.layers.")}
            for local in range(len(names)):
                result |= self.layer(stage, f"transformer.layers.{local}", f"model.layers.{layer}")
                layer += 1
        assert layer == self.config["num_hidden_layers"]
        result["model.norm.weight"] = self.same(last, "transformer.ln_f.weight")
        head = torch.cat([rank["lm_head.weight"] for rank in last])
        assert not head[vocabulary:].any()
        return {**result, "lm_head.weight": head[:vocabulary]}

    def layer(self, stage: list[dict[str, torch.Tensor]], ours: str, theirs: str) -> dict[str, torch.Tensor]:
        result = {}
        for kind in ("weight", "bias"):
            if f"{ours}.attention.qkv.{kind}" in stage[0]:
                for which, tensor in self.qkv([rank[f"{ours}.attention.qkv.{kind}"] for rank in stage]).items():
                    result[f"{theirs}.self_attn.{which}_proj.{kind}"] = tensor
        rows = {"mlp.fc.weight": "mlp.gate_proj.weight", "mlp.gate.weight": "mlp.up_proj.weight"}
        rows |= {"mlp.fc.bias": "mlp.gate_proj.bias", "mlp.gate.bias": "mlp.up_proj.bias"}
        columns = {"attention.dense.weight": "self_attn.o_proj.weight", "mlp.proj.weight": "mlp.down_proj.weight"}
        for dim, names in ((0, rows), (1, columns)):
            for name, original in names.items():
                if f"{ours}.{name}" in stage[0]:
                    result[f"{theirs}.{original}"] = torch.cat([rank[f"{ours}.{name}"] for rank in stage], dim)
        for name, original in COPIED.items():
            if f"{ours}.{name}" in stage[0]:
                result[f"{theirs}.{original}"] = self.same(stage, f"{ours}.{name}")
        return result

    def qkv(self, ranks: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        size = self.config["head_size"]
        heads, kv_heads = self.config["num_attention_heads"] // self.tp, self.config["num_key_value_heads"]
        copies = max(1, self.tp // kv_heads)
        kv = max(1, kv_heads // self.tp)
        assert all(rank.shape[0] == (heads + 2 * kv) * size for rank in ranks)
        split = [rank.split([heads * size, kv * size, kv * size]) for rank in ranks]
        for rank in range(self.tp):  # copies are copies
            assert torch.equal(split[rank][1], split[rank - rank % copies][1])
            assert torch.equal(split[rank][2], split[rank - rank % copies][2])
        return {
            "q": torch.cat([part[0] for part in split]),
            "k": torch.cat([part[1] for part in split[::copies]]),
            "v": torch.cat([part[2] for part in split[::copies]]),
        }

    @staticmethod
    def same(stage: list[dict[str, torch.Tensor]], name: str) -> torch.Tensor:
        assert all(torch.equal(rank[name], stage[0][name]) for rank in stage)
        return stage[0][name]


def recombined(output: Path, ranks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return Recombined(json.loads((output / "config.json").read_text()), ranks).tensors()


def assert_equal(found: dict[str, torch.Tensor], checkpoint: Path) -> None:
    expected = load_file(checkpoint / "model.safetensors")
    expected.setdefault("lm_head.weight", expected["model.embed_tokens.weight"])
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family, config = FAMILIES[request.param]
    return make_checkpoint(tmp_path_factory.mktemp("families") / "checkpoint", family, **config)


@pytest.mark.parametrize(("tp", "pp"), GRID)
def test_shards_of_every_family_recombine_to_the_checkpoint_bit_by_bit(
    checkpoint: Path, tmp_path: Path, tp: int, pp: int
) -> None:
    ranks = shard(checkpoint, tmp_path / "shards", tp, pp)
    assert_equal(recombined(tmp_path / "shards", ranks), checkpoint)


@pytest.mark.parametrize(("tp", "pp"), [(1, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_plan_knows_the_size_of_every_file_to_the_byte(
    checkpoint: Path, tmp_path: Path, tp: int, pp: int, dtype: str
) -> None:
    shard(checkpoint, tmp_path / "shards", tp, pp, dtype)
    decoder = decoder_of(json.loads((checkpoint / "config.json").read_text()), "tiny")
    planned = {file.name: file.file_bytes for file in rank_files(decoder, Parallelism(tp, pp), dtype)}
    written = {path.name: path.stat().st_size for path in (tmp_path / "shards").glob("*.safetensors")}
    assert planned == written


ODD_SHAPES = st.fixed_dictionaries(
    {
        "tp": st.sampled_from([1, 2, 4]),
        "pp": st.sampled_from([1, 2, 3]),
        "family": st.sampled_from(PLAIN_FAMILIES),
        "heads": st.sampled_from([4, 8, 12]),
        "kv": st.sampled_from([1, 2, 4]),
        "head_size": st.sampled_from([2, 6, 8]),
        "hidden": st.integers(1, 9),
        "inner": st.integers(1, 4).map(lambda value: 4 * value),
        "layers": st.integers(3, 7),
        "vocabulary": st.integers(1, 23),
        "tied": st.booleans(),
        "bias": st.booleans(),
        "block_bytes": st.integers(1, 200),
        "dtype": st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    }
)


@settings(max_examples=60)
@given(ODD_SHAPES)
def test_any_shape_that_the_rules_allow_recombines(tmp_path_factory: pytest.TempPathFactory, shape: Any) -> None:
    config = odd_config(shape, shape["hidden"])
    directory = tmp_path_factory.mktemp("odd")
    weights = {
        name: torch.randn(size).to(shape["dtype"]) for name, size in decoder_of(config, "odd").weight_shapes().items()
    }
    checkpoint = write_plain(directory / "checkpoint", config, weights)
    dtype = str(shape["dtype"]).removeprefix("torch.")
    ranks = shard(checkpoint, directory / "shards", shape["tp"], shape["pp"], dtype, shape["block_bytes"])
    assert_equal(recombined(directory / "shards", ranks), checkpoint)


def test_weights_are_converted_as_torch_converts_them(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    ranks = shard(checkpoint, tmp_path / "shards", 2, 2, "bfloat16")
    found = recombined(tmp_path / "shards", ranks)
    for name, tensor in load_file(checkpoint / "model.safetensors").items():
        assert torch.equal(found[name], tensor.to(torch.bfloat16))


def test_a_value_that_is_too_large_for_the_dtype_is_refused_with_its_tensor(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    weights = load_file(checkpoint / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = 1e6
    write_plain(checkpoint, json.loads((checkpoint / "config.json").read_text()), weights)
    with pytest.raises(BuildError, match=r"model\.layers\.1\.mlp\.up_proj\.weight: .* not finite in float16"):
        shard(checkpoint, tmp_path / "shards", 1, 1, "float16")


def test_the_left_over_layers_go_to_the_first_pipeline_ranks_as_numpy_splits() -> None:
    import numpy as np

    for num_layers in range(1, 40):
        for pp in range(1, num_layers + 1):
            split = [list(part) for part in np.array_split(np.arange(num_layers), pp)]
            assert [list(Parallelism(1, pp).layers(rank, num_layers)) for rank in range(pp)] == split


def test_ranks_are_numbered_with_the_tensor_parallel_ranks_of_a_stage_together() -> None:
    parallel = Parallelism(tp_size=2, pp_size=3)
    places = [(parallel.pp_rank(rank), parallel.tp_rank(rank)) for rank in range(parallel.world_size)]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    ("config", "tp", "pp", "complaint"),
    [
        ({}, 3, 1, "--tp = 3; must divide the 8 attention heads; allowed: 1, 2, 4, 8"),
        ({"num_attention_heads": 12, "num_key_value_heads": 3}, 2, 1, "--tp = 2; must divide the 3 kv heads, or be a"),
        ({"intermediate_size": 62}, 4, 1, "--tp = 4; must divide intermediate_size (62); allowed: 1, 2"),
        ({}, 1, 6, "--pp = 6; must be ≤ 5, the model's layers"),
    ],
)
def test_a_split_that_tensorrt_llm_cannot_make_is_refused_with_the_rule_and_what_is_allowed(
    config: dict[str, Any], tp: int, pp: int, complaint: str
) -> None:
    values = {"architectures": ["LlamaForCausalLM"], "hidden_size": 48, "vocab_size": 101, "num_hidden_layers": 5,
              "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 64, **config}  # fmt: skip
    with pytest.raises(SpecError) as refused:
        check_parallelism(decoder_of(values, "tiny"), Parallelism(tp, pp), "")
    assert (
        str(refused.value)
        .replace("build.tensor_parallel", "--tp")
        .replace("build.pipeline_parallel", "--pp")
        .startswith(complaint)
    )


MIXTURE: dict[str, Any] = {
    "architectures": ["MixtralForCausalLM"], "hidden_size": 48, "vocab_size": 101, "num_hidden_layers": 5,
    "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 6, "num_local_experts": 6,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "split", "complaint"),
    [
        ({}, Parallelism(4), "build.tensor_parallel = 4; must divide the size of an expert (6); allowed: 1, 2"),
        ({}, Parallelism(8, moe_ep_size=3), "build.tensor_parallel = 8; must be a multiple of build.moe_expert_para"),
        ({}, Parallelism(4, moe_ep_size=4), "build.moe_expert_parallel = 4; must divide the 6 experts"),
        (
            {"architectures": ["MistralForCausalLM"]},
            Parallelism(2, moe_ep_size=2),
            "build.moe_expert_parallel = 2; must be 1: MistralForCausalLM has no experts",
        ),
        (
            {"architectures": ["Phi3ForCausalLM"]},
            Parallelism(1, 2),
            "build.pipeline_parallel = 2; must be 1: TensorRT-LLM's model of Phi3ForCausalLM has no pipeline stages",
        ),
    ],
)
def test_experts_and_stages_that_tensorrt_llm_cannot_split_so_are_rejected(
    config: dict[str, Any], split: Parallelism, complaint: str
) -> None:
    with pytest.raises(SpecError) as refused:
        check_parallelism(decoder_of(MIXTURE | config, "tiny"), split, "")
    assert str(refused.value).startswith(complaint)


@pytest.mark.parametrize(
    ("architecture", "modules", "wrong"),
    [
        ("Phi3ForCausalLM", ("attn_q", "attn_dense", "mlp_gate"), "attn_q, mlp_gate"),
        ("MixtralForCausalLM", ("attn_q", "mlp_4h_to_h"), "mlp_4h_to_h"),
    ],
)
def test_modules_that_a_compiled_engine_has_not_by_themselves_take_no_adapter(
    architecture: str, modules: tuple[str, ...], wrong: str
) -> None:
    decoder = decoder_of(MIXTURE | {"architectures": [architecture]}, "tiny")
    with pytest.raises(SpecError, match=rf'build\.lora\.target_modules = "{wrong}"; a compiled {architecture} has no'):
        check_adapters(decoder, modules, "")
    check_adapters(decoder, ("attn_dense",), "")


def test_ranks_of_a_mixture_are_numbered_with_those_that_share_out_the_experts_together() -> None:
    """As `Mapping` does: rank r has experts of part r % ep, and of each the part r // ep."""
    split = Parallelism(4, 2, moe_ep_size=2)
    places = [(list(split.experts(rank, 4)), split.moe_tp_rank(rank)) for rank in range(8)]
    assert places == [([0, 1], 0), ([2, 3], 0), ([0, 1], 1), ([2, 3], 1)] * 2


def test_a_mixture_is_read_lazily_block_by_block_and_comes_out_the_same(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "qwen3_moe")
    whole = shard(checkpoint, tmp_path / "whole", 4, 2, experts=2)
    in_blocks = shard(checkpoint, tmp_path / "blocks", 4, 2, block_bytes=100, experts=2)
    for first, second in zip(whole, in_blocks, strict=True):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_router_is_written_in_float32_whatever_the_others_are(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "mixtral")
    ranks = shard(checkpoint, tmp_path / "shards", 2, 1, "bfloat16")
    stored = load_file(checkpoint / "model.safetensors")["model.layers.3.block_sparse_moe.gate.weight"]
    assert torch.equal(ranks[1]["transformer.layers.3.mlp.router.weight"], stored)
    assert ranks[1]["transformer.layers.3.mlp.fc.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize("family", ["qwen2_moe", "gemma3_text", "phi3", "nemotron", "granite"])
def test_the_plan_knows_the_size_of_every_file_of_other_families_too(tmp_path: Path, family: str) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family)
    shard(checkpoint, tmp_path / "shards", 4, 1, "float16")
    decoder = decoder_of(json.loads((checkpoint / "config.json").read_text()), "tiny")
    planned = {file.name: file.file_bytes for file in rank_files(decoder, Parallelism(4), "float16")}
    assert planned == {path.name: path.stat().st_size for path in (tmp_path / "shards").glob("*.safetensors")}
