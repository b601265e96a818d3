"""`--plan` of architectures that Conch does not shard, of weights that are quantized already, and `--plan --search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from build_scripts.engine.builder import Fit
from build_scripts.plan import BuildRequest, prepare_build
from build_scripts.spec.engine_spec import EngineSpec
from triton_repo.contract.errors import BuildError, SpecError

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 128256,
    "max_position_embeddings": 8192, "torch_dtype": "bfloat16", "rms_norm_eps": 1e-5,
}  # fmt: skip
LLAMA_405B = LLAMA | {
    "hidden_size": 16384, "intermediate_size": 53248, "num_attention_heads": 128, "num_hidden_layers": 126,
    "max_position_embeddings": 131072,
}  # fmt: skip
GRANITE_MOE = LLAMA | {
    "architectures": ["GraniteMoeForCausalLM"], "model_type": "granitemoe", "vocab_size": 32000, "num_local_experts": 8,
    "num_experts_per_tok": 2, "max_position_embeddings": 32768,
}  # fmt: skip
GPT_OSS = LLAMA | {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "head_dim": 64,
    "num_local_experts": 8,
}
DEEPSEEK = LLAMA | {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "num_key_value_heads": 32,
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "n_routed_experts": 16, "moe_intermediate_size": 2048, "n_shared_experts": 1, "first_k_dense_replace": 1,
}  # fmt: skip
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128}
FP8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}


def preview(
    directory: Path, config: dict[str, Any], gpu: str | None = None, fit: Fit | None = None, **build: Any
) -> Any:
    """What `conch build --plan --json` prints."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    values = {"name": "x", "model": str(directory), "runtime": "tensorrt_llm", "build": build}
    request = BuildRequest(EngineSpec.model_validate(values), "flags", directory.parent, directory, fit or Fit(gpu))
    with prepare_build(request, preview=True) as prepared:
        assert prepared.preview is not None
        return prepared.preview.to_json()


@pytest.mark.parametrize(
    ("section", "name"),
    [
        (FP8, "fp8"),
        (AWQ, "awq"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
    ],
)
@pytest.mark.parametrize("config", [LLAMA, GRANITE_MOE], ids=["sharded here", "converted"])
def test_a_checkpoint_that_is_quantized_already_is_sent_to_the_pytorch_flow(
    tmp_path: Path, config: dict[str, Any], section: dict[str, Any], name: str
) -> None:
    quantized = config | {"quantization_config": section}
    with pytest.raises(BuildError, match=rf"already quantized \({name}\): build\.flow = pytorch runs it as it is"):
        preview(tmp_path / "m", quantized)
    planned = preview(tmp_path / "m", quantized, "8xb200-180gb", flow="pytorch", tensor_parallel=8)
    assert planned["quantization"] == name
    assert planned["sequences"] > 0


def test_quantized_weights_are_counted_by_their_width_and_their_groups(tmp_path: Path) -> None:
    """Four bits and two bytes for each group of 128, of all but the embeddings and the output."""
    planned = preview(tmp_path / "m", LLAMA | {"quantization_config": AWQ}, "8xh100-80gb", flow="pytorch")
    linear = 32 * 4096 * (4096 + 2 * 1024 + 4096 + 3 * 14336)
    assert planned["ranks"][0]["engine_bytes"] == pytest.approx(
        linear * (0.5 + 2 / 128) + 2 * 128256 * 4096 * 2, rel=1e-3
    )
    assert planned["gpu"]["count"] == 8
    assert "names fp8 with scales of blocks, mxfp4 and the formats of ModelOpt" in planned["notes"][0]


@pytest.mark.parametrize(("section", "read"), [(FP8, True), ({"quant_method": "fp8"}, False)])
def test_a_plan_says_of_fp8_without_scales_of_blocks_that_it_is_not_read(
    tmp_path: Path, section: dict[str, Any], read: bool
) -> None:
    planned = preview(tmp_path / "m", LLAMA | {"quantization_config": section}, "8xb200-180gb", flow="pytorch")
    assert any("what it reads, and not fp8" in note for note in planned.get("notes", [])) is not read


@pytest.mark.parametrize("bits", [[4], {"a": 4}, 5, None])
def test_a_width_that_is_none_leaves_the_one_of_the_format(tmp_path: Path, bits: Any) -> None:
    expected = preview(tmp_path / "m", LLAMA | {"quantization_config": AWQ}, flow="pytorch")
    assert preview(tmp_path / "m", LLAMA | {"quantization_config": AWQ | {"bits": bits}}, flow="pytorch") == expected


def test_what_a_format_leaves_as_it_is_is_counted_in_full(tmp_path: Path) -> None:
    mxfp4 = {"quant_method": "mxfp4"}
    whole = preview(tmp_path / "a", GPT_OSS | {"quantization_config": mxfp4}, flow="pytorch")
    left = mxfp4 | {"modules_to_not_convert": ["model.layers.*.self_attn"]}
    partly = preview(tmp_path / "b", GPT_OSS | {"quantization_config": left}, flow="pytorch")
    attention = 32 * 4096 * 64 * (32 + 2 * 8 + 32)
    grown = partly["stages"][0]["engine_bytes"] - whole["stages"][0]["engine_bytes"]
    assert grown == pytest.approx(attention * (2 - 0.5 - 1 / 32), rel=1e-2)


@pytest.mark.parametrize(
    "files",
    [
        {"hf_quant_config.json": {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}},
        {"config.json": {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8",
                                                  "kv_cache_scheme": {"num_bits": 8, "type": "float"}}}},
    ],
    ids=["its own file", "in the configuration"],
)  # fmt: skip
def test_a_cache_of_eight_bits_holds_twice_the_tokens(tmp_path: Path, files: dict[str, Any]) -> None:
    full = preview(tmp_path / "full", LLAMA, flow="pytorch")
    directory = tmp_path / "fp8"
    directory.mkdir()
    if "hf_quant_config.json" in files:
        (directory / "hf_quant_config.json").write_text(json.dumps(files["hf_quant_config.json"]))
    planned = preview(directory, LLAMA | files.get("config.json", {}), flow="pytorch")
    assert (planned["kv_value_bits"], planned["kv_bytes_per_token"] * 2) == (8, full["kv_bytes_per_token"])


@pytest.mark.parametrize(("hidden", "heads", "size"), [(3200, 32, 100), (3840, 32, 120)])
@pytest.mark.parametrize("config", [LLAMA, GRANITE_MOE], ids=["sharded here", "converted"])
@pytest.mark.parametrize("flow", ["compiled", "pytorch"])
def test_heads_of_a_size_that_tensorrt_llms_attention_lacks_are_rejected(  # noqa: PLR0917 - a case and its places
    tmp_path: Path, config: dict[str, Any], flow: str, hidden: int, heads: int, size: int
) -> None:
    odd = config | {"hidden_size": hidden, "num_attention_heads": heads}
    with pytest.raises(BuildError, match=f"heads of {size} values; TensorRT-LLM's attention has 32, 48, 64, 80"):
        preview(tmp_path / "m", odd, flow=flow)


def test_low_rank_attention_has_kernels_of_its_own_and_a_cache_that_is_not_split(tmp_path: Path) -> None:
    one = preview(tmp_path / "m", DEEPSEEK, flow="pytorch")
    two = preview(tmp_path / "m", DEEPSEEK, flow="pytorch", tensor_parallel=2)
    assert one["kv_bytes_per_token"] == 32 * (512 + 64) * 2
    assert two["stages"][0]["kv_bytes_per_token"] == one["kv_bytes_per_token"]


@pytest.mark.parametrize(
    ("build", "gpu", "complaint"),
    [
        ({"tensor_parallel": 3}, None, "must divide the 32 attention heads; allowed: 1, 2, 4, 8, 16, 32"),
        ({"pipeline_parallel": 33}, None, "must be ≤ 32, the model's layers"),
        ({"tensor_parallel": 16}, "8xh100-80gb", r"\(16 × 1\) = 16; must be ≤ 8, the GPUs"),
        ({}, "a10-24gb", "rank 0 does not fit a10-24gb .* --tp 2 --pp 3 is the smallest that does"),
        ({"quantization": "fp8"}, "a100-80gb", '"fp8"; needs compute capability 8.9'),
    ],
)
def test_the_rules_that_hold_for_all_hold_for_architectures_that_tensorrt_llm_converts(
    tmp_path: Path, build: dict[str, Any], gpu: str | None, complaint: str
) -> None:
    with pytest.raises(SpecError, match=complaint):
        preview(tmp_path / "m", GRANITE_MOE, gpu, **build)


def test_only_architectures_that_tensorrt_llm_has_are_said_to_be_converted_by_it(tmp_path: Path) -> None:
    assert preview(tmp_path / "a", GRANITE_MOE)["steps"][0]["where"] == "GPU host"
    with pytest.raises(
        SpecError, match=r'build\.flow = "compiled"; must be pytorch for GptOssForCausalLM: neither Conch'
    ):
        preview(tmp_path / "b", GPT_OSS)
    assert preview(tmp_path / "b", GPT_OSS, flow="pytorch")["steps"] == [
        {"title": "checkpoint", "where": "here", "argv": []},
        {"title": "serve, in the image of docker/current.Dockerfile", "where": "GPU host", "argv": []},
    ]


@pytest.mark.parametrize(
    ("gpu", "remedy"),
    [
        ("8xh100-80gb", "no split over 8 does; --tp 4 --pp 3, on 12, is the smallest that does"),
        ("h100-80gb", "--tp 4 --pp 3 is the smallest that does"),
        ("1", "no split of up to 64 ranks does"),
    ],
)
def test_what_does_not_fit_is_told_from_what_no_number_of_gpus_holds(tmp_path: Path, gpu: str, remedy: str) -> None:
    with pytest.raises(SpecError, match=remedy):
        preview(tmp_path / "m", LLAMA_405B, gpu, max_seq_len=8192)


@pytest.mark.parametrize("key", ["n_positions", "max_seq_len", "seq_length", "max_sequence_length"])
def test_the_context_of_older_families_is_found(tmp_path: Path, key: str) -> None:
    config = {name: value for name, value in GRANITE_MOE.items() if name != "max_position_embeddings"}
    assert preview(tmp_path / "m", config | {key: 2048})["max_seq_len"] == 2048
    with pytest.raises(
        SpecError, match=r"build\.max_seq_len is required: the checkpoint has no max_position_embeddings or"
    ):
        preview(tmp_path / "m", config)


def test_what_is_left_to_cuda_is_an_assumption_that_can_be_changed(tmp_path: Path) -> None:
    assumed = preview(tmp_path / "m", GRANITE_MOE, "8xh100-80gb", tensor_parallel=8)
    told = preview(tmp_path / "m", GRANITE_MOE, fit=Fit("8xh100-80gb", 10 * 10**9), tensor_parallel=8)
    assert (assumed["reserve_bytes"], told["reserve_bytes"]) == (3 << 29, 10 * 10**9)
    assert told["kv_tokens"] < assumed["kv_tokens"]


@pytest.mark.parametrize("name", ["b200-180gb", "gb200-186gb", "h20-96gb", "l40s-48gb", "rtxpro6000-96gb"])
def test_todays_gpus_are_known_by_name(tmp_path: Path, name: str) -> None:
    planned = preview(tmp_path / "m", LLAMA, name)
    assert planned["gpu"]["name"] == name


def test_a_search_tells_what_fits_and_what_holds_the_most_sequences(tmp_path: Path) -> None:
    found = preview(tmp_path / "m", LLAMA_405B, fit=Fit("8xh100-80gb", search=True))
    by_way = {(c["tensor_parallel"], c["pipeline_parallel"], c["quantization"]): c for c in found["candidates"]}
    assert by_way[8, 1, "none"]["sequences"] == 0
    assert by_way[8, 1, "fp8"]["sequences"] > 0
    assert {way[2] for way in by_way} == {"none", "int8", "int4", "fp8", "int4_awq"}  # nvfp4 needs another GPU
    assert found["sequence_length"] == 8192
    assert found["best"]["sequences"] == max(each["sequences"] for each in found["candidates"])
    assert max(way[0] * way[1] for way in by_way) == 8


def test_a_search_agrees_with_the_plan_of_the_same_split(tmp_path: Path) -> None:
    found = preview(tmp_path / "m", LLAMA, fit=Fit("2xh100-80gb", search=True))
    planned = preview(tmp_path / "m", LLAMA, "2xh100-80gb", tensor_parallel=2, max_batch_size=1024)
    way = next(c for c in found["candidates"] if (c["tensor_parallel"], c["quantization"]) == (2, "none"))
    assert way["weight_bytes"] == pytest.approx(planned["ranks"][0]["engine_bytes"], rel=1e-4)
    assert way["kv_bytes_per_token"] == planned["ranks"][0]["kv_bytes_per_token"]
    assert way["sequences"] == pytest.approx(planned["sequences"], abs=2)


def test_a_search_of_what_is_quantized_already_has_the_splits_alone(tmp_path: Path) -> None:
    config = DEEPSEEK | {"quantization_config": FP8}
    found = preview(tmp_path / "m", config, fit=Fit("8xh200-141gb", search=True), flow="pytorch")
    assert {candidate["quantization"] for candidate in found["candidates"]} == {"fp8"}


def test_a_search_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="--search: needs a GPU to fit"):
        preview(tmp_path / "m", LLAMA, fit=Fit(search=True))


def test_a_family_that_is_not_known_is_said_to_be_estimated_and_its_unknown_layers_are_not_guessed(
    tmp_path: Path,
) -> None:
    strange = GRANITE_MOE | {"model_type": "step9", "architectures": ["Step9ForCausalLM"]}
    assert "model_type step9 is not known" in preview(tmp_path / "a", strange, flow="pytorch")["notes"][0]
    uncounted = preview(tmp_path / "b", strange | {"compress_ratios": [4]}, "h100-80gb", flow="pytorch")
    assert (uncounted["parameters"], uncounted["steps"][0]["title"]) == (None, "checkpoint")


PHI3 = LLAMA | {
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "num_attention_heads": 32, "num_key_value_heads": 32,
    "vocab_size": 32064, "sliding_window": 2047,
}  # fmt: skip


def test_a_search_offers_what_a_compiled_engine_of_the_family_can_be(tmp_path: Path) -> None:
    """Phi-3 has no pipeline stages there, and ends with its window; the PyTorch flow splits its layers too."""
    found = preview(tmp_path / "m", PHI3, fit=Fit("4xh100-80gb", search=True))
    assert found["sequence_length"] == 2047
    assert {each["pipeline_parallel"] for each in found["candidates"]} == {1}
    torch_flow = preview(tmp_path / "m", PHI3, flow="pytorch", fit=Fit("4xh100-80gb", search=True))
    assert {each["pipeline_parallel"] for each in torch_flow["candidates"]} == {1, 2, 4}


def test_a_mixture_is_planned_tensor_by_tensor_with_its_experts_shared_out(tmp_path: Path) -> None:
    mixtral = GRANITE_MOE | {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}
    split = preview(tmp_path / "m", mixtral, tensor_parallel=4)
    shared = preview(tmp_path / "m", mixtral, tensor_parallel=4, moe_expert_parallel=4)
    shapes = [
        {tensor["name"]: (tensor["dtype"], tensor["shape"]) for tensor in plan["ranks"][3]["tensors"]}
        for plan in (split, shared)
    ]
    name = "transformer.layers.0.mlp"
    assert [each[f"{name}.fc.weight"][1] for each in shapes] == [[8, 2 * 3584, 4096], [2, 2 * 14336, 4096]]
    assert [each[f"{name}.router.weight"] for each in shapes] == [("float32", [8, 4096])] * 2
    assert split["ranks"][3]["weight_bytes"] == shared["ranks"][3]["weight_bytes"]
    assert split["parameters"] == 46_702_792_704
