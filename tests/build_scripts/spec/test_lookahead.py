"""Lookahead decoding in the compiled flow: what is refused, compiled, rendered, and noticed as a change."""

from __future__ import annotations

import json
import shlex
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from build_scripts.spec.engine_spec import BuildSection
from build_scripts.spec.speculative import SpeculativeSection
from build_scripts.tensorrt_llm.argv import build_argv
from tests.build_scripts.conftest import Workshop
from tests.build_scripts.tensorrt_llm.gpu_host import use_gpu_host
from triton_repo.contract.engine_config import EngineConfig, SpeculativeConfig
from triton_repo.contract.errors import SpecError, UnsupportedParameter
from triton_repo.contract.sampling import REQUEST_FIELDS
from triton_repo.engine.request import parse_request

RUNTIME = "tensorrt_llm"
LOOKAHEAD = '[speculative]\nmode = "lookahead"\n'
PYTORCH = '[build]\nflow = "pytorch"\n'


@pytest.mark.parametrize(
    ("window", "ngram", "guesses", "candidates"),
    [(7, 7, 7, 83), (4, 3, 4, 15), (2, 2, 1, 2), (1, 2, 1, 1)],  # the first two are NVIDIA's own
)
def test_the_candidates_of_lookahead_are_counted_as_tensorrt_llm_counts_them(
    window: int, ngram: int, guesses: int, candidates: int
) -> None:
    sizes = {"max_window_size": window, "max_ngram_size": ngram, "max_verification_set_size": guesses}
    section = SpeculativeSection.model_validate({"mode": "lookahead", **sizes})
    assert section.num_candidates == candidates
    assert section.config() == SpeculativeConfig(mode="lookahead", num_assistant_tokens=candidates, **sizes)


def test_trtllm_build_is_told_of_lookahead_and_of_the_length_of_its_drafts() -> None:
    argv = build_argv(PurePosixPath("/model"), BuildSection(), 64, 83)
    assert shlex.join(argv).endswith(" --workers 1 --speculative_decoding_mode lookahead_decoding --max_draft_len 83")
    assert "--max_draft_len" not in build_argv(PurePosixPath("/model"), BuildSection(), 64)


def test_an_engine_is_compiled_for_lookahead_and_only_another_length_compiles_it_anew(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_gpu_host(monkeypatch, workshop.root / "bin")
    engine = workshop.build(LOOKAHEAD, runtime=RUNTIME)
    told = json.loads((engine.directory / "model" / "engine" / "config.json").read_text())["build_config"]
    assert (told["speculative_decoding_mode"], told["max_draft_len"]) == ("lookahead_decoding", 15)
    workshop.build(LOOKAHEAD + "max_window_size = 5\nmax_verification_set_size = 3", runtime=RUNTIME)
    assert "tiny: up to date" in capsys.readouterr().err
    config = EngineConfig.load(engine.directory).speculative
    assert config is not None
    assert (config.max_window_size, config.max_verification_set_size) == (5, 3)
    workshop.build(LOOKAHEAD + "max_window_size = 5", runtime=RUNTIME)
    assert "building (max_draft_len 15 → 17)" in capsys.readouterr().err
    workshop.build(runtime=RUNTIME)
    assert "building (max_draft_len 17 → 0)" in capsys.readouterr().err


def test_the_command_that_is_left_without_a_gpu_compiles_for_lookahead_too(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop.build(LOOKAHEAD, runtime=RUNTIME)
    assert " --speculative_decoding_mode lookahead_decoding --max_draft_len 15\n" in capsys.readouterr().err
    assert workshop.manifest.spec.max_draft_len == 15


def test_lookahead_is_greedy_and_says_so(workshop: Workshop) -> None:
    workshop.configure("generation_config.json", do_sample=True, temperature=0.7, repetition_penalty=1.5)
    config = EngineConfig.load(workshop.build(LOOKAHEAD, runtime=RUNTIME).directory)
    assert (config.sampling.temperature, config.sampling.repetition_penalty) == (0.0, None)
    penalties = ("frequency_penalty", "presence_penalty", "repetition_penalty")
    others = (name for name in REQUEST_FIELDS if name not in ("cache_salt", "prompt_logprobs", "logit_bias"))
    assert config.card.unsupported == ("temperature", "min_tokens", *penalties, *others)
    with pytest.raises(UnsupportedParameter, match="temperature: the tensorrt_llm runtime cannot do this"):
        parse_request({"input_ids": [5], "temperature": [0.5]}, {}, config)
    asked: dict[str, Any] = {"input_ids": [5], "temperature": [0.0], "frequency_penalty": [0.0]}
    assert parse_request(asked, {}, config).sampling.temperature == 0


@pytest.mark.parametrize(
    ("runtime", "text", "problem"),
    [
        ("openvino", LOOKAHEAD, 'speculative.mode = "lookahead"; must be prompt_lookup or draft where runtime = openv'),
        (RUNTIME, PYTORCH + LOOKAHEAD, '"lookahead"; must be prompt_lookup or draft where build.flow = pytorch'),
        (RUNTIME, LOOKAHEAD + "max_ngram_size = 1", "max_ngram_size = 1; must be ≥ 2 for mode lookahead"),
        (RUNTIME, LOOKAHEAD + "max_window_size = 65", "speculative.max_window_size = 65; must be ≤ 64"),
        (
            RUNTIME,
            LOOKAHEAD + "num_assistant_tokens = 5",
            "speculative.num_assistant_tokens = 5; is not for mode lookahead, which has max_window_size, max_ngram_si",
        ),
        (
            RUNTIME,
            "[build]\nmax_num_tokens = 4095\n" + LOOKAHEAD,
            "build.max_num_tokens = 4095; must be ≥ 4096: build.max_batch_size × (1 + 15 guesses)",
        ),
        (
            RUNTIME,
            "[sampling]\ntemperature = 0.5\n" + LOOKAHEAD,
            "sampling.temperature = 0.5; is not possible where speculative.mode = l",
        ),
        (
            RUNTIME,
            "[build]\npipeline_parallel = 2\n" + LOOKAHEAD,
            "build.pipeline_parallel = 2; must be 1 where specula",
        ),
        (RUNTIME, "[build.compile]\nmax_beam_width = 2\n" + LOOKAHEAD, "max_beam_width = 2; must be 1 where specula"),
        (
            RUNTIME,
            '[serve]\nguided_decoding_backend = "xgrammar"\n' + LOOKAHEAD,
            'serve.guided_decoding_backend = "xgrammar"; is not possible where speculative.mode = lookahead: rem',
        ),
        (
            RUNTIME,
            "[serve]\ngather_generation_logits = true\n" + LOOKAHEAD,
            "serve.gather_generation_logits = true; must be false where speculative.mode = lookahead",
        ),
        (
            RUNTIME,
            '[build.lora.adapters]\nfrench = "tiny/french"\n' + LOOKAHEAD,
            'build.lora = "[…]"; is not possible where speculative.mode = ',
        ),
        (
            RUNTIME,
            PYTORCH + '[build.lora.adapters]\na = "b"\n[speculative]\nmode = "prompt_lookup"',
            'build.lora = "[…]"; is not possible where speculative.mode = ',
        ),
        (
            RUNTIME,
            PYTORCH + 'pipeline_parallel = 2\n[speculative]\nmode = "prompt_lookup"',
            "build.pipeline_parallel = 2; must be 1 where speculative.mode = prompt_lookup",
        ),
    ],
)
def test_what_lookahead_cannot_go_with_is_refused_by_name(
    workshop: Workshop, runtime: str, text: str, problem: str
) -> None:
    with pytest.raises(SpecError) as rejected:
        workshop.build(text, runtime=runtime)
    assert problem in str(rejected.value)
    assert not workshop.engine.exists()


def test_tensorrt_llms_own_converter_is_told_of_no_lookahead(workshop: Workshop) -> None:
    workshop.configure("config.json", architectures=["FalconForCausalLM"])
    with pytest.raises(SpecError, match=r"speculative = .*needs build\.flow = pytorch for this architecture"):
        workshop.build(LOOKAHEAD, runtime=RUNTIME)
    assert not Path(workshop.engine).exists()
