"""Logprobs of prompts and biases of logits as TensorRT-LLM's LLM API takes and tells them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fake_tensorrt_llm import importable
from tests.triton_repo.engine.runtimes.deltas import ids_of
from tests.triton_repo.engine.runtimes.llm_api import (
    FLOWS,
    LATEST,
    PROMPT,
    drain,
    engine_config,
    generation,
    write_model,
)
from triton_repo.contract.capabilities.runtimes import capabilities_of
from triton_repo.contract.engine_config import Flow, SpeculativeConfig, TensorRtLlmConfig
from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.features import for_llm_api
from triton_repo.engine.request import parse_request
from triton_repo.engine.runtimes.opening import open_runtime

LONG = [*range(10, 110)]


def test_the_latest_tells_the_logprobs_of_a_prompt_also_where_the_cache_has_it(tmp_path: Path) -> None:
    write_model(tmp_path / "model", LATEST)
    asked = Sampling(temperature=0.0, prompt_logprobs=2, cache_salt="mine")
    config = engine_config(tensorrt_llm=TensorRtLlmConfig(flow="pytorch"), max_seq_len=256, max_num_tokens=256)
    with importable(LATEST):
        runtime = open_runtime(tmp_path, config)
        for key in (1, 2):
            scored = replace(generation(key, LONG, 3, asked), prompt_logprobs=2)
            runtime.submit(scored)
            first, *others = [delta for delta in drain(runtime, key) if delta.key == key]
            of_first, *rest = first.prompt_logprobs
            assert (of_first.logprob, of_first.top) == (None, ())
            assert [of.logprob for of in rest] == [-0.5 * (id % 3 + 1) for id in LONG[1:]]
            assert [of.rank for of in rest] == [id % 3 + 1 for id in LONG[1:]]
            assert {len(of.top) for of in rest} == {2}
            assert not any(delta.prompt_logprobs or delta.logprobs for delta in others)
        runtime.close()


@pytest.mark.parametrize(("version", "flow"), FLOWS)
def test_a_bias_reaches_the_sampler(tmp_path: Path, version: str, flow: Flow) -> None:
    write_model(tmp_path / "model", version)
    with importable(version):  # type: ignore[arg-type]
        runtime = open_runtime(tmp_path, engine_config(tensorrt_llm=TensorRtLlmConfig(flow=flow)))
        runtime.submit(
            generation(1, sampling=Sampling(temperature=0.0, logit_bias={"200": 100.0, "7": -5}), max_tokens=3)
        )
        runtime.submit(generation(2, sampling=Sampling(temperature=0.0, logit_bias={}), max_tokens=3))
        deltas = drain(runtime, 1, 2)
        runtime.close()
    assert ids_of(deltas, 1) == [200] * 3
    assert ids_of(deltas, 2) == PROMPT[:3]


def test_an_engine_says_what_its_llm_api_can_do() -> None:
    pytorch = engine_config(tensorrt_llm=TensorRtLlmConfig(flow="pytorch"))
    assert for_llm_api(pytorch, "1.3").card.max_prompt_logprobs == 20
    assert for_llm_api(pytorch, "1.2").card.max_prompt_logprobs is None
    assert for_llm_api(engine_config(), "1.2").card.max_prompt_logprobs is None
    assert all(for_llm_api(config, "1.2").card.logit_bias for config in (pytorch, engine_config()))
    drafted = pytorch.model_copy(update={"speculative": SpeculativeConfig(mode="draft", num_assistant_tokens=3)})
    assert not for_llm_api(drafted, "1.3").card.logit_bias
    assert for_llm_api(drafted, "1.3").card.max_prompt_logprobs is None


def test_a_bias_does_not_reach_ids_that_only_fill_up_the_vocabulary_of_the_ranks() -> None:
    able = capabilities_of("tensorrt_llm", "compiled")
    assert able.biases_logits(None, vocab_size=258, tensor_parallel=2)
    assert not able.biases_logits(None, vocab_size=257, tensor_parallel=2)


def test_a_bias_is_checked_against_the_vocabulary_and_the_engine() -> None:
    able = for_llm_api(engine_config(), "1.2")
    parsed = parse_request({"input_ids": [5]}, {"logit_bias": '{"7": 1.5, "8": -100}'}, able)
    assert parsed.sampling.logit_bias == {"7": 1.5, "8": -100}
    with pytest.raises(InvalidRequest, match=r"logit_bias: token id 258 is not in 0 … 257"):
        parse_request({"input_ids": [5]}, {"logit_bias": '{"258": 1}'}, able)
    for value in ('{"7": 101}', '{"x": 1}', "[7]", '{"-1": 1}'):
        with pytest.raises(InvalidRequest, match="logit_bias") as rejected:
            parse_request({"input_ids": [5]}, {"logit_bias": value}, able)
        assert rejected.value.param == "logit_bias"
    with pytest.raises(UnsupportedParameter, match="logit_bias: the tensorrt_llm runtime cannot do this"):
        parse_request({"input_ids": [5]}, {"logit_bias": '{"7": 1}'}, engine_config())
    assert parse_request({"input_ids": [5]}, {"logit_bias": "{}"}, engine_config()).sampling.logit_bias is None
