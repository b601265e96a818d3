"""The stand-ins for TensorRT-LLM are as strict as what they stand in for: they reject what it does, by its errors."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.fake_tensorrt_llm import Version
from tests.triton_repo.engine.runtimes.llm_api import EARLIER, LATEST, write_model

pytestmark = pytest.mark.usefixtures("tensorrt_llm")
EACH = pytest.mark.parametrize("tensorrt_llm", [EARLIER, LATEST], indirect=True)
ONLY_EARLIER = pytest.mark.parametrize("tensorrt_llm", [EARLIER], indirect=True)
ONLY_LATEST = pytest.mark.parametrize("tensorrt_llm", [LATEST], indirect=True)


def made(name: str, **arguments: Any) -> Any:
    return getattr(import_module("tensorrt_llm.llmapi"), name)(**arguments)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PMIX_HOSTNAME", "n-0")
    return write_model(tmp_path / "model") / "checkpoint"


@EACH
def test_names_and_types_that_the_configurations_do_not_have_are_rejected(tensorrt_llm: Version) -> None:
    for name, wrong in (
        ("KvCacheConfig", {"onboard": True}),
        ("KvCacheConfig", {"free_gpu_memory_fraction": 1.5}),
        ("KvCacheConfig", {"enable_block_reuse": "perhaps"}),
        ("SchedulerConfig", {"capacity_scheduler_policy": "fair"}),
        ("NGramDecodingConfig", {"max_draft_len": 3, "max_matching_ngram_size": 0}),
    ):
        with pytest.raises(ValidationError):
            made(name, **wrong)


@EACH
@pytest.mark.parametrize("unknown", [{"max_sequence": 5}, {"build_config": None}, {"max_tokens": 5}])
def test_arguments_that_an_llm_does_not_have_are_rejected(
    tensorrt_llm: Version, checkpoint: Path, unknown: Mapping[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"got invalid argument|specific to TensorRT backend"):
        made("LLM", model=checkpoint, skip_tokenizer_init=True, **unknown)


@ONLY_LATEST
def test_the_latest_has_no_sampler_to_choose(tensorrt_llm: Version, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="TRTLLMSampler"):
        made("LLM", model=checkpoint, skip_tokenizer_init=True, sampler_type="TRTLLMSampler")
    made("LLM", model=checkpoint, skip_tokenizer_init=True, sampler_type="TorchSampler").shutdown()


@ONLY_LATEST
def test_the_latest_lacks_what_was_removed(tensorrt_llm: Version) -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("tensorrt_llm._tensorrt_engine")
    assert not hasattr(import_module("tensorrt_llm.llmapi"), "LookaheadDecodingConfig")
    with pytest.warns(FutureWarning):
        import_module("tensorrt_llm.lora_manager")
    for name, wrong in (
        ("KvCacheConfig", {"onboard_blocks": True}),
        ("KvCacheConfig", {"free_gpu_memory_fraction": None}),
        ("SADecodingConfig", {"max_draft_len": 3, "max_matching_ngram_size": 0}),
        ("SADecodingConfig", {"max_draft_len": 0}),
        ("DraftTargetDecodingConfig", {"max_draft_len": 3}),
    ):
        with pytest.raises(ValidationError):
            made(name, **wrong)
    with pytest.raises(TypeError):
        made("SamplingParams", lookahead_config=None)


@ONLY_EARLIER
def test_the_earlier_lacks_what_came_later(tensorrt_llm: Version) -> None:
    assert not hasattr(import_module("tensorrt_llm.llmapi"), "SADecodingConfig")
    with pytest.raises(ModuleNotFoundError):
        import_module("tensorrt_llm._torch")
    with pytest.raises(ValidationError):
        made("SchedulerConfig", waiting_queue_policy="priority")
    with pytest.raises(TypeError):
        made("SamplingParams", logprobs_mode="raw")
    with pytest.raises(ValueError, match="does not exist"):
        import_module("tensorrt_llm.executor.request").LoRARequest("french", 1, "/nowhere")


@ONLY_LATEST
@pytest.mark.parametrize("wrong", [{"top_p": 1.5}, {"top_k": -1}, {"min_p": 2}, {"temperature": -1}, {"logprobs": 101}])
def test_the_latest_checks_what_is_sampled_when_it_is_said(tensorrt_llm: Version, wrong: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        made("SamplingParams", **wrong)
    made("SamplingParams", temperature=0, logprobs=0)


@EACH
@pytest.mark.parametrize("wrong", [{"cache_salts": "a"}, {"priority": 2}])
def test_a_request_has_the_arguments_of_its_version(
    tensorrt_llm: Version, checkpoint: Path, wrong: Mapping[str, Any]
) -> None:
    llm = made("LLM", model=checkpoint, skip_tokenizer_init=True, max_seq_len=64)
    expected = ValueError if tensorrt_llm == LATEST and "priority" in wrong else TypeError
    with pytest.raises(expected):
        llm.generate_async([5], made("SamplingParams", end_id=1), streaming=True, **wrong)
    llm.shutdown()


@EACH
def test_a_prompt_that_is_too_long_has_the_error_of_its_version(tensorrt_llm: Version, checkpoint: Path) -> None:
    llm = made("LLM", model=checkpoint, skip_tokenizer_init=True, max_num_tokens=8, max_seq_len=64)
    error = import_module("tensorrt_llm.llmapi").RequestError if tensorrt_llm == LATEST else ValueError
    with pytest.raises(error, match="should not exceed"):
        llm.generate_async([5] * 9, made("SamplingParams", end_id=1), streaming=True)
    llm.shutdown()
