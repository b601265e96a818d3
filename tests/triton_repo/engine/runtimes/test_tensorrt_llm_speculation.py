"""Speculative decoding on TensorRT-LLM: what the LLM API gets in each flow, and deltas of several tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.triton_repo.engine.runtimes.llm_api import (
    END,
    OTHER_END,
    PROMPT,
    drain,
    engine_config,
    generation,
    ids_of,
    write_model,
)
from triton_repo.contract.engine_config import EngineConfig, Flow, SpeculativeConfig, TensorRtLlmConfig
from triton_repo.engine.runtimes.opening import open_runtime
from triton_repo.engine.runtimes.tensorrt_llm.arguments import llm_arguments, speculative_arguments

pytestmark = pytest.mark.usefixtures("tensorrt_llm")

LOOKUP = SpeculativeConfig(mode="prompt_lookup", num_assistant_tokens=3, max_ngram_size=2)
DRAFT = SpeculativeConfig(mode="draft", num_assistant_tokens=3)
LOOKAHEAD = SpeculativeConfig(
    mode="lookahead", num_assistant_tokens=14, max_window_size=4, max_ngram_size=4, max_verification_set_size=1
)


def speculative(config: SpeculativeConfig) -> EngineConfig:
    flow: Flow = "compiled" if config.mode == "lookahead" else "pytorch"
    return engine_config(speculative=config, tensorrt_llm=TensorRtLlmConfig(flow=flow))


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    shutil.copytree(write_model(tmp_path / "model"), tmp_path / "draft")
    compiled = tmp_path / "model" / "engine" / "config.json"
    config = json.loads(compiled.read_text())
    config["build_config"]["max_draft_len"] = LOOKAHEAD.num_assistant_tokens
    compiled.write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("config", [LOOKUP, DRAFT, LOOKAHEAD], ids=lambda config: config.mode)
def test_tokens_that_come_together_are_those_that_would_come_one_by_one(
    engine: Path, config: SpeculativeConfig
) -> None:
    runtime = open_runtime(engine, speculative(config))
    try:
        runtime.submit(generation(1))
        runtime.submit(generation(2, max_tokens=3))
        runtime.submit(generation(3, prompt=[10, OTHER_END, 12]))
        deltas = drain(runtime, 1, 2, 3)
    finally:
        runtime.close()
    assert [ids_of(deltas, key) for key in (1, 2, 3)] == [[*PROMPT, END], PROMPT[:3], [10, OTHER_END]]
    assert [len(delta.token_ids) for delta in deltas if delta.key == 1] == [4, 2]
    ends = {delta.key: delta.finish_reason for delta in deltas if delta.finish_reason}
    assert ends == {1: "stop", 2: "length", 3: "stop"}  # in any order


def test_the_guesses_of_a_request_are_its_own() -> None:
    expected = {"max_draft_len": 3, "max_matching_ngram_size": 2, "is_public_pool": False}
    assert speculative_arguments(Path("/e/model"), LOOKUP) == expected


def test_a_draft_lies_next_to_the_model() -> None:
    expected = {"max_draft_len": 3, "speculative_model_dir": "/e/draft/checkpoint"}
    assert speculative_arguments(Path("/e/model"), DRAFT) == expected


def test_lookahead_is_told_its_three_sizes_and_no_length() -> None:
    expected = {"max_window_size": 4, "max_ngram_size": 4, "max_verification_set_size": 1}
    assert speculative_arguments(Path("/e/model"), LOOKAHEAD) == expected
    arguments = llm_arguments(Path("/e/model"), speculative(LOOKAHEAD))
    assert not {"sampler_type", "disable_overlap_scheduler"} & set(arguments)  # these are for the other flow


def test_candidates_have_the_sampler_that_verifies_them() -> None:
    arguments = llm_arguments(Path("/e/model"), speculative(LOOKUP))
    assert (arguments["sampler_type"], arguments["disable_overlap_scheduler"]) == ("TorchSampler", True)
    plain = llm_arguments(Path("/e/model"), engine_config(tensorrt_llm=TensorRtLlmConfig(flow="pytorch")))
    assert plain["sampler_type"] == "TRTLLMSampler"
    assert "disable_overlap_scheduler" not in plain
