"""What only the LLM API of 1.3.0rc26 and later does, on a stand-in for 1.4.0rc1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.triton_repo.engine.runtimes.deltas import ids_of
from tests.triton_repo.engine.runtimes.llm_api import (
    DIES,
    END,
    FAILS,
    GREEDY,
    LATEST,
    LOOP_DIES,
    PROMPT,
    collect,
    drain,
    ended,
    engine_config,
    generation,
    write_model,
)
from triton_repo.contract.engine_config import LoraConfig, TensorRtLlmConfig
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.opening import open_runtime
from triton_repo.engine.runtimes.runtime import TokenDelta
from triton_repo.engine.runtimes.tensorrt_llm.runtime import TensorRtLlmRuntime

pytestmark = [
    pytest.mark.usefixtures("tensorrt_llm"),
    pytest.mark.parametrize("tensorrt_llm", [LATEST], indirect=True),
]
BLOCK = 32  # tokens of a block of the KV cache
LONG = list(range(100, 140))


def opened(directory: Path, *, settings: TensorRtLlmConfig | None = None, **fields: Any) -> TensorRtLlmRuntime:
    write_model(directory / "model")
    settings = settings or TensorRtLlmConfig(flow="pytorch")
    runtime = open_runtime(directory, engine_config(tensorrt_llm=settings, **fields))
    assert isinstance(runtime, TensorRtLlmRuntime)
    return runtime


def cached(deltas: Sequence[TokenDelta], key: int) -> int:
    return max(delta.cached_tokens for delta in deltas if delta.key == key)


@pytest.mark.parametrize("asked", [0, 1, 3, 20])
def test_every_token_has_its_logprob_and_as_many_alternatives_as_were_asked_for(tmp_path: Path, asked: int) -> None:
    runtime = opened(tmp_path)
    runtime.submit(generation(sampling=Sampling(temperature=0.0, logprobs=asked)))
    listed = [of for delta in drain(runtime, 1) for of in delta.logprobs]
    runtime.close()
    assert [of.logprob for of in listed] == [-0.5 * (id % 3 + 1) for id in [*PROMPT, END]]
    assert {len(of.top) for of in listed} == {asked}
    if asked:
        assert {of.top[0][1] for of in listed} == {-0.5}, "the likeliest first, whichever was sampled"


def test_an_event_loop_that_dies_is_the_end_of_the_engine_and_not_of_one_request(tmp_path: Path) -> None:
    """It fails all that waits with the error of a single request."""
    runtime = opened(tmp_path)
    runtime.submit(generation(1, max_tokens=50, sampling=Sampling(temperature=0.0, min_tokens=40)))
    runtime.submit(generation(2, [10, LOOP_DIES]))
    with pytest.raises(RuntimeError, match="the executor is not healthy"):
        collect(runtime, lambda _: False)
    runtime.close()


def test_a_worker_that_dies_is_logged_once_however_many_requests_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = opened(tmp_path)
    for key in range(1, 9):
        runtime.submit(generation(key, max_tokens=50, sampling=Sampling(temperature=0.0, min_tokens=40)))
    runtime.submit(generation(9, [10, DIES]))
    with pytest.raises(RuntimeError, match="Engine has died"):
        drain(runtime, *range(1, 10))
    runtime.close()
    assert [record.message for record in caplog.records] == ["TensorRT-LLM's executor is lost"]


def test_a_request_that_fails_alone_leaves_the_engine_as_it_is(tmp_path: Path) -> None:
    runtime = opened(tmp_path)
    runtime.submit(generation(1, [10, FAILS]))
    assert ended(drain(runtime, 1), 1)
    runtime.submit(generation(2))
    assert ids_of(drain(runtime, 2), 2) == [*PROMPT, END]
    runtime.close()


def test_an_answer_that_the_cache_cuts_short_ends_with_length(tmp_path: Path) -> None:
    """No sequence is longer than the KV cache: `max_tokens` is cut to what fits, and not rejected."""
    runtime = opened(tmp_path, settings=TensorRtLlmConfig(flow="pytorch", max_tokens_in_paged_kv_cache=len(PROMPT) + 3))
    runtime.submit(generation(1, max_tokens=40, sampling=Sampling(temperature=0.0, min_tokens=40)))
    runtime.submit(generation(2, PROMPT * 3))
    deltas = drain(runtime, 1, 2)
    runtime.close()
    assert (ids_of(deltas, 1), [d.finish_reason for d in deltas if d.key == 1][-1]) == (PROMPT[:3], "length")
    assert [delta.error is not None for delta in deltas if delta.key == 2] == [True]


def test_a_prompt_that_has_been_there_is_counted_as_cached_for_the_same_salt_alone(tmp_path: Path) -> None:
    runtime = opened(tmp_path)
    salts = (None, None, "a", "b", "a")
    for key, salt in enumerate(salts):
        runtime.submit(generation(key, LONG, 3, Sampling(temperature=0.0, cache_salt=salt)))
        deltas = drain(runtime, key)
        assert cached(deltas, key) == (BLOCK if salt in salts[:key] else 0)
    runtime.close()


def test_a_request_of_higher_priority_goes_before_those_that_wait(tmp_path: Path) -> None:
    runtime = opened(tmp_path, max_batch_size=1)
    runtime.submit(generation(1, max_tokens=50, sampling=Sampling(temperature=0.0, min_tokens=40)))
    deltas = collect(runtime, bool)  # it runs
    priorities = {2: 0.1, 3: None, 4: 0.9, 5: None}
    for key, priority in priorities.items():
        runtime.submit(generation(key, sampling=Sampling(temperature=0.0, priority=priority)))
    deltas += drain(runtime, 1, *priorities)
    runtime.close()
    assert [delta.key for delta in deltas if delta.finish_reason] == [1, 4, 3, 5, 2]


def test_an_adapter_that_is_not_there_fails_the_requests_that_name_it(tmp_path: Path) -> None:
    lora = LoraConfig(adapters=("french",), max_rank=8, target_modules=("attn_q",))
    runtime = opened(tmp_path, settings=TensorRtLlmConfig(flow="pytorch", lora=lora))
    runtime.submit(generation(1, sampling=Sampling(temperature=0.0, lora_name="french")))
    runtime.submit(generation(2, sampling=GREEDY))
    deltas = drain(runtime, 1, 2)
    runtime.close()
    assert [delta.key for delta in deltas if delta.error] == [1]
    assert ids_of(deltas, 2) == [*PROMPT, END]
