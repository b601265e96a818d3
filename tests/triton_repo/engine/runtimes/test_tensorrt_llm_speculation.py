"""Speculative decoding on TensorRT-LLM: what each LLM API gets, and deltas of several tokens."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.triton_repo.engine.runtimes.deltas import ids_of
from tests.triton_repo.engine.runtimes.llm_api import (
    EARLIER,
    END,
    LATEST,
    OTHER_END,
    PROMPT,
    drain,
    engine_config,
    generation,
    write_model,
)
from triton_repo.contract.engine_config import EngineConfig, Flow, SpeculativeConfig, TensorRtLlmConfig
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.opening import open_runtime
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.contract import Contract
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.v1_2 import V1_2
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.v1_3 import V1_3
from triton_repo.engine.runtimes.tensorrt_llm.opening import choose
from triton_repo.engine.runtimes.tensorrt_llm.runtime import TensorRtLlmRuntime

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


@pytest.mark.parametrize(
    ("tensorrt_llm", "config"),
    [(EARLIER, LOOKUP), (EARLIER, DRAFT), (EARLIER, LOOKAHEAD), (LATEST, LOOKUP), (LATEST, DRAFT)],
    ids=lambda of: of.mode if isinstance(of, SpeculativeConfig) else of,
    indirect=["tensorrt_llm"],
)
@pytest.mark.usefixtures("tensorrt_llm")
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


@pytest.mark.parametrize("tensorrt_llm", [LATEST], indirect=True)
@pytest.mark.usefixtures("tensorrt_llm")
def test_a_request_whose_logprobs_are_left_out_without_an_error_fails(engine: Path) -> None:
    runtime = open_runtime(engine, speculative(DRAFT))
    runtime.submit(generation(1, sampling=Sampling(temperature=0.0, logprobs=0)))
    runtime.submit(generation(2))
    deltas = drain(runtime, 1, 2)
    runtime.close()
    assert [delta.error is not None for delta in deltas if delta.key == 1] == [True]
    assert ids_of(deltas, 2) == [*PROMPT, END]


@pytest.mark.parametrize("tensorrt_llm", [LATEST], indirect=True)
def test_prompt_lookup_takes_n_grams_where_there_is_no_suffix_automaton(
    tensorrt_llm: str, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(import_module("tensorrt_llm.llmapi"), "SADecodingConfig")
    runtime = open_runtime(engine, speculative(LOOKUP))
    assert isinstance(runtime, TensorRtLlmRuntime)
    assert type(runtime._llm.args.speculative_config).__name__ == "NGramDecodingConfig"
    runtime.submit(generation(1))
    assert ids_of(drain(runtime, 1), 1) == [*PROMPT, END]
    runtime.close()


@pytest.mark.parametrize(
    ("contract", "config", "name", "arguments"),
    [
        (V1_2, LOOKUP, "NGramDecodingConfig", {"max_matching_ngram_size": 2, "is_public_pool": False}),
        (V1_3, LOOKUP, "SADecodingConfig", {"max_matching_ngram_size": 2, "enable_global_pool": False}),
        (V1_2, DRAFT, "DraftTargetDecodingConfig", {"speculative_model_dir": "/e/draft/checkpoint"}),
        (V1_3, DRAFT, "DraftTargetDecodingConfig", {"speculative_model": "/e/draft/checkpoint"}),
    ],
)
def test_the_guesses_of_a_request_are_its_own_and_a_draft_lies_next_to_the_model(
    contract: Contract, config: SpeculativeConfig, name: str, arguments: dict[str, Any]
) -> None:
    has_all = ModuleType("llmapi")
    has_all.__dict__.update(dict.fromkeys(("NGramDecodingConfig", "SADecodingConfig", "DraftTargetDecodingConfig")))
    chosen = choose(contract.speculation[config.mode], has_all)
    assert chosen.name == name
    assert chosen.arguments(Path("/e/model"), config) == {"max_draft_len": 3, **arguments}


def test_lookahead_is_told_its_three_sizes_and_no_length_and_only_in_the_earlier_api() -> None:
    [lookahead] = V1_2.speculation["lookahead"]
    expected = {"max_window_size": 4, "max_ngram_size": 4, "max_verification_set_size": 1}
    assert lookahead.arguments(Path("/e/model"), LOOKAHEAD) == expected
    assert lookahead.llm_arguments == {}  # those of the other modes are for the other flow
    assert "lookahead" not in V1_3.speculation


def test_candidates_have_the_sampler_that_verifies_them_where_there_are_two() -> None:
    assert V1_2.pytorch_arguments["sampler_type"] == "TRTLLMSampler"
    for mode in ("prompt_lookup", "draft"):
        [candidates] = V1_2.speculation[mode]
        assert candidates.llm_arguments == {"sampler_type": "TorchSampler", "disable_overlap_scheduler": True}
    assert "sampler_type" not in V1_3.pytorch_arguments
    assert all("sampler_type" not in one.llm_arguments for each in V1_3.speculation.values() for one in each)
