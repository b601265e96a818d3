"""The embedded CPU engine, on the demo checkpoint: it batches, samples, cancels, and survives a poisoned step."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openvino_genai
import pytest

from build_scripts.build import ensure_engine
from tests.triton_repo.engine.runtimes.deltas import drain, ids_of
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.openvino.runtime import OpenVinoRuntime
from triton_repo.engine.runtimes.runtime import Generation, TokenDelta

PROMPTS = {key: [key * 7 % 500 + 300 + i for i in range(20)] for key in range(1, 9)}
LENGTH = 24
GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module")
def engine() -> Path:
    return ensure_engine("demo").directory


def open_runtime(
    engine: Path, cls: type[OpenVinoRuntime] = OpenVinoRuntime, config_of: Path | None = None, **settings: Any
) -> OpenVinoRuntime:
    return cls(engine / "model", EngineConfig.load(config_of or engine).model_copy(update=settings))


def generation(key: int, sampling: Sampling = GREEDY, max_tokens: int = LENGTH) -> Generation:
    return Generation(key, PROMPTS[key], max_tokens, (), sampling)


def solo(engine: Path, key: int, sampling: Sampling = GREEDY) -> list[int]:
    runtime = open_runtime(engine)
    runtime.submit(generation(key, sampling))
    return ids_of(drain(runtime), key)


def test_requests_that_join_at_different_steps_equal_their_solo_runs(engine: Path) -> None:
    runtime = open_runtime(engine)
    deltas: list[TokenDelta] = []
    for key in (1, 2, 3, 4):
        runtime.submit(generation(key))
        for _ in range(key):
            deltas += runtime.step()
    deltas += drain(runtime)
    assert [ids_of(deltas, key) for key in (1, 2, 3, 4)] == [solo(engine, key) for key in (1, 2, 3, 4)]


def test_a_model_without_an_end_token_answers_to_max_tokens(engine: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(engine / "model", tmp_path / "model"))
    for name in ("config.json", "generation_config.json"):
        values = json.loads((model / name).read_text(encoding="utf-8"))
        (model / name).write_text(json.dumps({**values, "eos_token_id": None}), encoding="utf-8")
    runtime = open_runtime(tmp_path, config_of=engine, eos_token_ids=())
    runtime.submit(generation(1))
    assert len(ids_of(drain(runtime), 1)) == LENGTH


def test_a_seed_fixes_the_answer_alone_and_in_a_batch(engine: Path) -> None:
    seeded = Sampling(temperature=1.5, seed=42)
    runtime = open_runtime(engine)
    for key, sampling in ((1, seeded), (2, Sampling(temperature=1.5)), (3, Sampling(temperature=1.5, seed=7))):
        runtime.submit(generation(key, sampling))
    assert ids_of(drain(runtime), 1) == solo(engine, 1, seeded)
    assert solo(engine, 1, seeded) != solo(engine, 1, Sampling(temperature=1.5, seed=43))


def test_without_a_seed_answers_differ(engine: Path) -> None:
    hot = Sampling(temperature=2.0)
    assert len({tuple(solo(engine, 1, hot)) for _ in range(4)}) > 1


@pytest.mark.parametrize(
    "narrow",
    [Sampling(temperature=2.0, top_k=1), Sampling(temperature=2.0, top_p=1e-6), Sampling(temperature=2.0, min_p=1.0)],
)
def test_a_filter_that_leaves_one_token_makes_sampling_greedy(engine: Path, narrow: Sampling) -> None:
    assert solo(engine, 1, narrow) == solo(engine, 1)


@pytest.mark.parametrize("name", ["repetition_penalty", "frequency_penalty", "presence_penalty"])
def test_a_penalty_makes_the_answer_repeat_itself_less(engine: Path, name: str) -> None:
    runtime = open_runtime(engine)
    penalised = Sampling.model_validate({"temperature": 0.0, name: 2.0})
    for key, sampling in ((1, GREEDY), (2, penalised)):
        runtime.submit(Generation(key, PROMPTS[1], 200, (), sampling))
    deltas = drain(runtime)
    assert len(set(ids_of(deltas, 2))) > len(set(ids_of(deltas, 1)))


def test_an_end_id_ends_the_generation_unless_min_tokens_forbids(engine: Path) -> None:
    end = solo(engine, 1)[5]
    for min_tokens, shortest, longest in ((0, 1, 6), (12, 12, LENGTH)):
        runtime = open_runtime(engine)
        sampling = Sampling(temperature=0.0, min_tokens=min_tokens)
        runtime.submit(Generation(1, PROMPTS[1], LENGTH, (end,), sampling))
        assert shortest <= len(ids_of(drain(runtime), 1)) <= longest


def test_a_cancelled_request_frees_its_blocks_for_one_that_needs_them_all(engine: Path) -> None:
    runtime = open_runtime(engine, max_tokens_in_paged_kv_cache=2048)
    runtime.submit(Generation(1, [5] * 1000, 500, (), GREEDY))
    for _ in range(4):
        runtime.step()
    runtime.cancel(1)
    runtime.submit(Generation(2, [6] * 2000, 48, (), GREEDY))
    deltas = drain(runtime)
    assert len(ids_of(deltas, 2)) == 48
    assert ids_of(deltas, 1) == []
    assert runtime.load().kv_cache_utilization == 0


def test_requests_that_do_not_fit_into_the_cache_together_wait_and_all_finish(engine: Path) -> None:
    runtime = open_runtime(engine, max_tokens_in_paged_kv_cache=2048)
    for key in (1, 2, 3):
        runtime.submit(Generation(key, [key] * 1000, 300, (), GREEDY))
    deltas = drain(runtime)
    assert [len(ids_of(deltas, key)) for key in (1, 2, 3)] == [300, 300, 300]


class PoisonedRuntime(OpenVinoRuntime):
    """Plants the fault that is known to break the pipeline for everybody: an invalid grammar in requests 3 and 6."""

    def _generation_config(self, running: Any) -> Any:
        config = super()._generation_config(running)
        if running.generation.key in (3, 6):
            config.structured_output_config = openvino_genai.StructuredOutputConfig(json_schema='{"type": 12')
        return config


@pytest.mark.parametrize(
    "arrivals", [[(1, 2, 3, 4)], [(1, 2), (3,), (4,)], [(1, 2), (3, 4, 6)], [(3,), (1,)], [(6, 3)]]
)
def test_a_request_that_breaks_the_pipeline_fails_alone(engine: Path, arrivals: list[tuple[int, ...]]) -> None:
    runtime = open_runtime(engine, PoisonedRuntime)
    began_s = time.monotonic()
    deltas: list[TokenDelta] = []
    for group in arrivals:
        for key in group:
            runtime.submit(generation(key))
        for _ in range(3):
            deltas += runtime.step()
    deltas += drain(runtime)
    assert began_s < runtime.loaded_s() < time.monotonic(), "the pipeline was opened again"
    for key in (key for group in arrivals for key in group):
        ends = [delta for delta in deltas if delta.key == key and (delta.finish_reason or delta.error)]
        assert len(ends) == 1
        if key in (3, 6):
            assert ends[0].error is not None
        else:
            assert ids_of(deltas, key) == solo(engine, key)


def test_any_thread_may_ask_when_the_pipeline_was_opened_while_steps_are_made(engine: Path) -> None:
    """As the watchdog and the heartbeat do; the interpreter switches threads as often as it can."""
    runtime, interval_s = open_runtime(engine), sys.getswitchinterval()
    over = threading.Event()

    def ask() -> int:
        asked = 0
        while not over.is_set():
            asked += runtime.loaded_s() < time.monotonic()
        return asked

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as threads:
            asking = threads.submit(ask)
            try:
                for key in PROMPTS:
                    runtime.submit(generation(key, max_tokens=100))
                drain(runtime)
            finally:
                over.set()
            assert asking.result() > 0
    finally:
        sys.setswitchinterval(interval_s)
