"""Logprobs as TensorRT-LLM's LLM API tells them, in both flows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.triton_repo.engine.runtimes.deltas import ids_of
from tests.triton_repo.engine.runtimes.llm_api import END, PROMPT, drain, engine_config, generation, write_model
from triton_repo.contract.capabilities.runtimes import capabilities_of
from triton_repo.contract.engine_config import TensorRtLlmConfig
from triton_repo.contract.logprobs import TokenLogprob
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.opening import open_runtime
from triton_repo.engine.runtimes.runtime import TokenDelta
from triton_repo.engine.runtimes.tensorrt_llm.requests import Requests

pytestmark = pytest.mark.usefixtures("tensorrt_llm")


def logprobs_of(deltas: Sequence[TokenDelta]) -> list[TokenLogprob]:
    return [of for delta in deltas for of in delta.logprobs]


@pytest.mark.parametrize("asked", [0, 1, 3])
def test_the_compiled_flow_names_alternatives_and_the_token_itself_need_not_be_one(tmp_path: Path, asked: int) -> None:
    write_model(tmp_path / "model")
    settings = TensorRtLlmConfig(gather_generation_logits=True)
    runtime = open_runtime(tmp_path, engine_config(tensorrt_llm=settings))
    runtime.submit(generation(sampling=Sampling(temperature=0.0, logprobs=asked)))
    deltas = drain(runtime, 1)
    runtime.close()
    listed = logprobs_of(deltas)
    assert len(listed) == len(PROMPT), "all but the end id, which this flow keeps to itself"
    assert [of.logprob for of in listed] == [-0.5 * (id % 3 + 1) for id in PROMPT]
    assert [[logprob for _, logprob in of.top] for of in listed] == [[-0.5, -1.0, -1.5][:asked]] * len(PROMPT)
    for id, of in zip(PROMPT, listed, strict=True):
        assert (id in dict(of.top)) == (id % 3 < asked)


def test_the_pytorch_flow_knows_the_logprob_of_each_token(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    runtime = open_runtime(tmp_path, engine_config(tensorrt_llm=TensorRtLlmConfig(flow="pytorch")))
    runtime.submit(generation(sampling=Sampling(temperature=0.0, logprobs=0)))
    deltas = drain(runtime, 1)
    runtime.close()
    assert logprobs_of(deltas) == [TokenLogprob(-0.5 * (id % 3 + 1), []) for id in PROMPT], "all but the end id"


def test_without_kept_logits_the_compiled_flow_fails_that_request_alone(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    runtime = open_runtime(tmp_path, engine_config())
    runtime.submit(generation(key=1, sampling=Sampling(temperature=0.0, logprobs=0)))
    runtime.submit(generation(key=2))
    deltas = drain(runtime, 1, 2)
    runtime.close()
    assert [delta.error is not None for delta in deltas if delta.key == 1] == [True]
    assert ids_of(deltas, 2) == [*PROMPT, END]
    assert logprobs_of(deltas) == []


def test_ids_that_only_fill_up_the_vocabulary_are_no_alternatives() -> None:
    """Ranks that share a vocabulary unevenly compute logits for ids that no token has."""
    candidates = {7: SimpleNamespace(logprob=-0.5), 10: SimpleNamespace(logprob=-0.25), 5: SimpleNamespace(logprob=-2)}
    sequence = SimpleNamespace(
        finish_reason=None, stop_reason=None, token_ids=[5], token_ids_diff=[5], logprobs=[candidates]
    )
    requests = Requests(capabilities_of("tensorrt_llm"), 1, {}, lambda *_: None, vocab_size=10)
    asking = generation(sampling=Sampling(temperature=0.0, logprobs=3))
    [of] = requests.delta(asking, SimpleNamespace(outputs=[sequence])).logprobs
    assert of == TokenLogprob(-2.0, [(7, -0.5), (5, -2.0)])
