"""What runtime tensorrt_llm asks of a spec, and which keys of it are compiled in."""

from __future__ import annotations

import pytest

from build_scripts.builders import BUILDERS
from build_scripts.spec.engine_spec import BuildSection, EngineSpec
from tests.build_scripts.conftest import Workshop
from triton_repo.contract.errors import SpecError

RUNTIME = "tensorrt_llm"


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
        (RUNTIME, "[serve]\nnum_threads = 2", r"serve\.num_threads = 2; needs runtime openvino: remove the key"),
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
        ("openvino", "[sampling]\nlogprobs = 1", r"is a parameter of each request and has no default"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    workshop: Workshop, runtime: str, text: str, problem: str
) -> None:
    with pytest.raises(SpecError, match=problem):
        workshop.build(text, runtime=runtime)


def test_every_key_that_is_compiled_in_makes_a_new_build() -> None:
    assert set(BUILDERS["tensorrt_llm"].settings) == set(BuildSection.model_fields)
    assert EngineSpec.model_validate({"name": "a", "model": "b", "runtime": RUNTIME}).build.max_batch_size == 256
