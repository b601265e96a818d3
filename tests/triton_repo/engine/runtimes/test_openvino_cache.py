"""The paged KV cache of the embedded CPU engine: no request is answered with what another one left in it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from build_scripts.build import ensure_engine
from tests.triton_repo.engine.runtimes.deltas import drain, ids_of
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.openvino.runtime import OpenVinoRuntime
from triton_repo.engine.runtimes.runtime import Generation, TokenDelta

GREEDY = Sampling(temperature=0.0)
PROMPT = [number * 37 % 1500 + 300 for number in range(200)]


def open_runtime(**settings: Any) -> OpenVinoRuntime:
    engine = ensure_engine("demo").directory
    return OpenVinoRuntime(engine / "model", EngineConfig.load(engine).model_copy(update=settings))


def answer(runtime: OpenVinoRuntime, prompt: Sequence[int], key: int = 1) -> list[int]:
    runtime.submit(Generation(key, prompt, 20, (), GREEDY))
    return ids_of(drain(runtime), key)


@pytest.mark.parametrize("max_num_tokens", [32, 40, 70, 100])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_prompt_that_is_cancelled_half_read_does_not_spoil_the_next_that_begins_alike(
    max_num_tokens: int, steps: int
) -> None:
    expected = answer(open_runtime(enable_kv_cache_reuse=False), PROMPT)
    runtime = open_runtime(max_num_tokens=max_num_tokens)
    runtime.submit(Generation(1, PROMPT, 20, (), GREEDY))
    for _ in range(steps):
        runtime.step()
    runtime.cancel(1)
    assert drain(runtime) == []
    assert answer(runtime, PROMPT, key=2) == expected


def test_the_room_of_a_prompt_that_was_cancelled_half_read_comes_back() -> None:
    runtime = open_runtime(max_num_tokens=64, max_tokens_in_paged_kv_cache=256, max_batch_size=1)
    for key in range(1, 6):
        runtime.submit(Generation(key, PROMPT, 1 + key % 2, (), GREEDY))
        runtime.step()
        runtime.cancel(key)
    assert len(answer(runtime, PROMPT, key=6)) == 20


@pytest.mark.parametrize("chunked", [True, False])
def test_no_more_requests_run_at_once_than_the_batch_holds(chunked: bool) -> None:
    runtime = open_runtime(max_batch_size=2, max_num_tokens=2048, enable_chunked_context=chunked)
    for key in range(1, 6):
        runtime.submit(Generation(key, PROMPT[key:], 8, (), GREEDY))
    loads = []
    while runtime.idle_s() is not None:
        runtime.step()
        loads.append(runtime.load())
    assert max(load.running for load in loads) == 2
    assert loads[0].waiting == 3


def test_a_request_that_is_cancelled_while_it_waits_is_never_heard_of() -> None:
    runtime = open_runtime(max_batch_size=1)
    for key in (1, 2, 3):
        runtime.submit(Generation(key, PROMPT, 8, (), GREEDY))
    deltas = list(runtime.step())
    runtime.cancel(2)
    deltas += drain(runtime)
    assert [len(ids_of(deltas, key)) for key in (1, 2, 3)] == [8, 0, 8]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cache_tokens", [768, 1280])
def test_requests_that_share_prefixes_in_a_short_cache_are_answered_as_alone(seed: int, cache_tokens: int) -> None:
    random = Random(seed)
    prompts = [PROMPT[:70] + random.choices(range(300, 2000), k=random.choice([3, 60, 450])) for _ in range(16)]
    lengths = [random.choice([5, 30, 90]) for _ in prompts]
    runtime = open_runtime(max_num_tokens=130, max_tokens_in_paged_kv_cache=cache_tokens)
    deltas: list[TokenDelta] = []
    for key, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
        runtime.submit(Generation(key, prompt, length, (), GREEDY))
        deltas += runtime.step()
    deltas += drain(runtime)
    alone = open_runtime(enable_kv_cache_reuse=False)
    for key, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
        alone.submit(Generation(key, prompt, length, (), GREEDY))
        assert ids_of(deltas, key) == ids_of(drain(alone), key)


def test_where_nothing_is_reused_more_requests_run_than_would_all_fit() -> None:
    runtime = open_runtime(enable_kv_cache_reuse=False, max_tokens_in_paged_kv_cache=2048)
    for key in (1, 2, 3):
        runtime.submit(Generation(key, PROMPT, 1800, (), GREEDY))
    runtime.step()
    assert runtime.load().running == 3
