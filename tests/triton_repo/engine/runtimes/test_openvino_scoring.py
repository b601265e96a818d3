"""Logprobs of prompts on the CPU engine, compared with transformers on the same checkpoint."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from build_scripts.build import ensure_engine
from tests.conftest import ROOT
from tests.triton_repo.engine.runtimes.deltas import drain
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.openvino.scoring import ScoringOpenVinoRuntime
from triton_repo.engine.runtimes.runtime import Generation

TOLERANCE = 1e-3
SCORED = Sampling(temperature=0.0, logprobs=3, max_tokens=1)
RANDOM = random.Random(1)
PROMPTS = [[RANDOM.randrange(3, 2048) for _ in range(length)] for length in (1, 2, 64, 65, 130)]


@pytest.fixture(scope="module")
def runtime() -> ScoringOpenVinoRuntime:
    engine: Path = ensure_engine("demo").directory
    return ScoringOpenVinoRuntime(engine / "model", EngineConfig.load(engine))


@pytest.fixture(scope="module")
def reference() -> Any:
    checkpoint = ROOT / "engines" / "demo" / "checkpoint"
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()


def test_the_logprobs_of_prompts_are_those_of_transformers(runtime: ScoringOpenVinoRuntime, reference: Any) -> None:
    for key, prompt in enumerate(PROMPTS):
        runtime.submit(Generation(key, prompt, 1, (), SCORED, prompt_logprobs=SCORED.logprobs))
    deltas = {delta.key: delta for delta in drain(runtime)}
    for key, prompt in enumerate(PROMPTS):
        with torch.inference_mode():
            expected = torch.log_softmax(reference(torch.tensor([prompt])).logits[0], dim=-1)
        first, *scores = deltas[key].prompt_logprobs
        assert (first.logprob, first.top) == (None, ())
        for row, score, id in zip(expected, scores, prompt[1:], strict=False):
            assert score.logprob == pytest.approx(float(row[id]), abs=TOLERANCE)
            assert score.rank == 1 + int((row > row[id]).sum())
            best = row.topk(3)
            assert [id for id, _ in score.top] == best.indices.tolist()
            assert [logprob for _, logprob in score.top] == pytest.approx(best.values.tolist(), abs=TOLERANCE)
        [answer], [listed] = deltas[key].token_ids, deltas[key].logprobs
        assert answer == int(expected[-1].argmax()) == listed.top[0][0]
        assert listed.logprob == pytest.approx(float(expected[-1].max()), abs=TOLERANCE)


def test_a_prompt_is_scored_without_logprobs_of_the_answer(runtime: ScoringOpenVinoRuntime) -> None:
    runtime.submit(Generation(20, PROMPTS[2], 2, (), Sampling(temperature=0.0, prompt_logprobs=1), prompt_logprobs=1))
    first, second = drain(runtime)
    assert [len(score.top) for score in first.prompt_logprobs] == [0] + [1] * 63
    assert (first.logprobs, second.logprobs, second.prompt_logprobs) == ([], [], ())


def test_a_request_that_leaves_while_it_is_scored_is_gone_and_others_go_on(runtime: ScoringOpenVinoRuntime) -> None:
    runtime.submit(Generation(10, PROMPTS[-1], 4, (), SCORED, prompt_logprobs=SCORED.logprobs))
    runtime.submit(Generation(11, PROMPTS[1], 4, (), Sampling(temperature=0.0)))
    runtime.step()
    assert runtime.load().waiting >= 1
    runtime.cancel(10)
    deltas = drain(runtime)
    assert {delta.key for delta in deltas} == {11}
    assert sum(len(delta.token_ids) for delta in deltas) <= 4
