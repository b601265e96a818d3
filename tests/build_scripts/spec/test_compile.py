"""What runtime tensorrt_llm asks of a spec, and which keys of it are compiled in."""

from __future__ import annotations

from typing import Any

import pytest

from build_scripts.builders import BUILDERS
from build_scripts.spec.engine_spec import BuildSection, EngineSpec
from build_scripts.spec.tensorrt_llm import CompileSection
from tests.build_scripts.conftest import Workshop
from triton_repo.contract.errors import SpecError

RUNTIME = "tensorrt_llm"
CHANGED: dict[str, Any] = {
    "dtype": "bfloat16",
    "quantization": "fp8",
    "max_seq_len": 4096,
    "max_batch_size": 9,
    "max_num_tokens": 1024,
    "tensor_parallel": 2,
    "pipeline_parallel": 2,
    "gpus_per_node": 4,
}
COMPILE_CHANGED: dict[str, Any] = {
    "max_input_len": 100,
    "max_beam_width": 2,
    "opt_num_tokens": 64,
    "tokens_per_block": 64,
    "gemm_plugin": "disable",
    "logits_dtype": "float16",
    "use_paged_context_fmha": False,
}


@pytest.mark.parametrize(
    ("runtime", "text", "problem"),
    [
        (
            "openvino",
            '[build]\nflow = "pytorch"',
            r'build\.flow = "pytorch"; must be compiled where runtime = openvino \(pytorch needs',
        ),
        ("openvino", "[build.compile]\nworkers = 2", r"build\.compile = .*needs runtime tensorrt_llm"),
        (
            "openvino",
            '[serve]\ncapacity_scheduler_policy = "max_utilization"',
            r"= \"max_utilization\"; needs runtime tensorrt_llm: remove",
        ),
        (
            RUNTIME,
            "[serve]\nnum_threads = 2",
            r"serve\.num_threads = 2; needs runtime openvino or runtime embed: remove the key",
        ),
        (RUNTIME, '[build]\nflow = "pytorch"\nquantization = "fp8"', r"must be none where build\.flow = pytorch"),
        (RUNTIME, "[build]\nmax_seq_len = 64\n[build.compile]\nmax_input_len = 65", r"must be ≤ build\.max_seq_len"),
        (
            RUNTIME,
            "[build.compile]\nuse_paged_context_fmha = false",
            r"must be true where serve\.enable_kv_cache_reuse",
        ),
        (RUNTIME, "[build.compile]\ngemm_plugins = true", r"unknown key; allowed: max_input_len, max_beam_width"),
        (RUNTIME, "[build.compile]\ntokens_per_block = 48", r"tokens_per_block = 48; allowed: 32, 64, 128"),
        (RUNTIME, "[serve]\nkv_cache_free_gpu_memory_fraction = 1.5", r"= 1\.5; must be ≤ 1"),
        (RUNTIME, '[serve]\nguided_decoding_backend = "llguidance"', r"must be xgrammar where build\.flow = compiled"),
        (RUNTIME, '[serve]\nguided_decoding_backend = "outlines"', r"= \"outlines\"; allowed: xgrammar, llguidance"),
        ("openvino", '[serve]\nguided_decoding_backend = "xgrammar"', r"needs runtime tensorrt_llm: remove the key"),
        (
            "openvino",
            "[serve]\ngather_generation_logits = true",
            r"needs runtime tensorrt_llm with build\.flow = compiled",
        ),
        (RUNTIME, '[build]\nflow = "pytorch"\n[serve]\ngather_generation_logits = true', r"build\.flow = compiled"),
        (
            RUNTIME,
            '[sampling]\nguided_decoding_guide_type = "json"',
            r"is a parameter of each request and has no default",
        ),
        (
            RUNTIME,
            "[build.compile]\nmultiple_profiles = true\nopt_num_tokens = 64",
            r"opt_num_tokens = 64; is not possible where build\.compile\.multiple_profiles = true",
        ),
        (
            RUNTIME,
            '[build]\nquantization = "fp8"\n[build.compile]\ngemm_plugin = "nvfp4"',
            r'gemm_plugin = "nvfp4"; needs build\.quantization = nvfp4, and that is fp8',
        ),
        (
            RUNTIME,
            '[build]\nquantization = "int8"\n[build.compile]\ngemm_plugin = "fp8"',
            r'gemm_plugin = "fp8"; needs build\.quantization = none or fp8, and that is int8',
        ),
        (
            RUNTIME,
            '[build]\nquantization = "nvfp4"\n[build.lora]\ntarget_modules = ["attn_q", "mlp_gate"]\n'
            '[build.lora.adapters]\nfrench = "a"',
            r'target_modules = "mlp_gate"; may have attn_q, attn_k, attn_v where build\.quantization = nvfp4',
        ),
        (
            "tensorrt_llm",
            "[build]\ntensor_parallel = 4\nmoe_expert_parallel = 3",
            r"build\.moe_expert_parallel = 3; must divide build\.tensor_parallel \(4\)",
        ),
        (
            "tensorrt_llm",
            '[build]\ntensor_parallel = 2\nmoe_expert_parallel = 2\nquantization = "fp8"',
            r"build\.moe_expert_parallel = 2; must be 1 where build\.quantization is not none",
        ),
        (
            "tensorrt_llm",
            '[build]\ntensor_parallel = 2\nmoe_expert_parallel = 2\nflow = "pytorch"',
            r"build\.moe_expert_parallel = 2; needs runtime tensorrt_llm with build\.flow = compiled",
        ),
        ("openvino", "[build]\ngpus_per_node = 4", r"gpus_per_node = 4; needs runtime tensorrt_llm with build\.flow"),
        ("openvino", "[sampling]\nlogprobs = 1", r"is a parameter of each request and has no default"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    workshop: Workshop, runtime: str, text: str, problem: str
) -> None:
    with pytest.raises(SpecError, match=problem):
        workshop.build(text, runtime=runtime)


UNCHANGED = {"format": "2", "max_draft_len": "0", "max_batch_size": "256", "max_num_tokens": "8192"}


def settings(**build: Any) -> dict[str, str]:
    serve = {"enable_kv_cache_reuse": False, "enable_chunked_context": False}
    values = {"name": "a", "model": "b", "runtime": RUNTIME, "build": build, "serve": serve}
    return BUILDERS["tensorrt_llm"].settings(EngineSpec.model_validate(values))


def test_every_key_that_changes_what_is_built_makes_a_new_build() -> None:
    assert set(CHANGED) == set(BuildSection.model_fields) - {"compile", "lora", "flow", "moe_expert_parallel"}
    assert settings(tensor_parallel=2, moe_expert_parallel=2)["moe_expert_parallel"] == "2"
    assert set(COMPILE_CHANGED) | {"multiple_profiles"} == set(CompileSection.model_fields) - {"workers"}
    lora = {"adapters": {"french": "a"}, "max_rank": 8}
    assert settings(compile={"multiple_profiles": True})["compile.multiple_profiles"] == "True"
    assert settings(**CHANGED, compile=COMPILE_CHANGED, lora=lora) == UNCHANGED | {
        **{key: str(value) for key, value in CHANGED.items()},
        **{f"compile.{key}": str(value) for key, value in COMPILE_CHANGED.items()},
        "lora.adapters": "{'french': 'a'}",
        "lora.max_rank": "8",
    }
    assert settings(flow="pytorch") == UNCHANGED | {"flow": "pytorch"}


def test_keys_that_have_their_default_are_no_reason_to_build_so_that_a_new_key_is_none() -> None:
    defaults = {name: field.get_default() for name, field in BuildSection.model_fields.items()}
    inner = {name: field.get_default() for name, field in CompileSection.model_fields.items()}
    assert settings(**{**defaults, "compile": inner}) == {"format": "2", "max_draft_len": "0"}


def test_the_number_of_workers_is_no_reason_to_build_and_another_key_is_one_that_is_named(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop.build(runtime=RUNTIME)
    workshop.build("[build.compile]\nworkers = 2", runtime=RUNTIME)
    assert "tiny: up to date" in capsys.readouterr().err
    workshop.build('[build.compile]\ngemm_plugin = "disable"', runtime=RUNTIME)
    assert "tiny: building (compile.gemm_plugin default → disable)" in capsys.readouterr().err


def test_the_batch_of_a_gpu_is_wider_by_default() -> None:
    assert EngineSpec.model_validate({"name": "a", "model": "b", "runtime": RUNTIME}).build.max_batch_size == 256
