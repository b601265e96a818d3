"""Speculative decoding on the demo checkpoint: faster where guesses are right, and never another answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import openvino_genai
import pytest

from build_scripts.build import ensure_engine
from tests.triton_repo.engine.runtimes.deltas import ids_of
from tests.triton_repo.engine.runtimes.drafts import write_draft
from triton_repo.contract.engine_config import EngineConfig, SpeculativeConfig
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.openvino.runtime import OpenVinoRuntime
from triton_repo.engine.runtimes.runtime import Generation, TokenDelta

DEMO = Path(__file__).parents[4] / "engines" / "demo" / "checkpoint"
MODES = ["prompt_lookup", "draft"]
GREEDY = Sampling(temperature=0.0)
SEEDED = Sampling(temperature=1.0, top_k=8, seed=11)
LENGTH = 32
SPEC = f"""
name = "drafted"
model = "{DEMO}"
[build]
max_seq_len = 1024
max_num_tokens = 1024
[serve]
enable_chunked_context = false
[speculative]
mode = "draft"
draft_model = "draft"
"""

Open = Callable[..., OpenVinoRuntime]
Shared = Callable[[str | None], OpenVinoRuntime]
Alone = Callable[[int, Sampling], list[int]]


def prompts() -> dict[int, list[int]]:
    """Some repeat themselves, so that there is something to look up; some begin alike."""
    random = Random(5)
    parts = [random.choices(range(300, 2000), k=30) for _ in range(8)]
    return {key: (parts[0] if key % 2 else []) + part * (1 + key % 3) for key, part in enumerate(parts, 1)}


PROMPTS = prompts()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drafted")
    write_draft(DEMO, root / "draft", num_layers=3)
    (root / "drafted.toml").write_text(SPEC)
    return ensure_engine(str(root / "drafted.toml")).directory


@pytest.fixture(scope="module")
def shared(open_runtime: Open) -> Shared:
    """The engine with a mode of speculation, or with none, opened once, for tests that leave it idle and whole."""
    return cache(open_runtime)


@pytest.fixture(scope="module")
def open_runtime(engine: Path) -> Open:
    """Opens the engine with a mode of speculation, or with none."""

    def opener(mode: str | None, cls: type[OpenVinoRuntime] = OpenVinoRuntime, **settings: Any) -> OpenVinoRuntime:
        sections: dict[str | None, SpeculativeConfig | None] = {
            None: None,
            "prompt_lookup": SpeculativeConfig(mode="prompt_lookup", num_assistant_tokens=5, max_ngram_size=3),
            "draft": SpeculativeConfig(mode="draft", num_assistant_tokens=5),
        }
        update = {"speculative": sections[mode], "enable_chunked_context": mode != "draft", **settings}
        return cls(engine / "model", EngineConfig.load(engine).model_copy(update=update))

    return opener


def generation(key: int, sampling: Sampling = GREEDY, max_tokens: int = LENGTH) -> Generation:
    return Generation(key, PROMPTS[key], max_tokens, (), sampling)


def run(runtime: OpenVinoRuntime, arrivals: Sequence[Sequence[Generation]], between: int = 3) -> list[TokenDelta]:
    deltas: list[TokenDelta] = []
    for group in arrivals:
        for one in group:
            runtime.submit(one)
        for _ in range(between):
            deltas += runtime.step()
    while runtime.idle_s() is not None:
        deltas += runtime.step()
    return deltas


@pytest.fixture(scope="module")
def alone(engine: Path) -> Alone:
    """What the model answers without speculation and company; it is asked once."""
    config = EngineConfig.load(engine).model_copy(update={"speculative": None, "enable_kv_cache_reuse": False})
    runtime = OpenVinoRuntime(engine / "model", config)
    return cache(lambda key, sampling: ids_of(run(runtime, [[generation(key, sampling)]]), key))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "sampling",
    [GREEDY, SEEDED, Sampling(temperature=0.0, repetition_penalty=1.3), Sampling(temperature=0.0, frequency_penalty=1)],
)
def test_requests_that_join_one_by_one_are_answered_as_without_speculation(
    shared: Shared, alone: Alone, mode: str, sampling: Sampling
) -> None:
    asked = [generation(key, sampling) for key in PROMPTS]
    deltas = run(shared(mode), [[one] for one in asked])
    assert [ids_of(deltas, one.key) for one in asked] == [alone(one.key, sampling) for one in asked]


@pytest.mark.parametrize("mode", MODES)
def test_an_end_id_and_a_length_end_an_answer_where_they_would_without(shared: Shared, alone: Alone, mode: str) -> None:
    runtime = shared(mode)
    for key in PROMPTS:
        answer = alone(key, GREEDY)
        ended = Generation(key, PROMPTS[key], LENGTH, (answer[9],), GREEDY)
        deltas = run(runtime, [[ended]])
        assert ids_of(deltas, key) == answer[: answer.index(answer[9]) + 1]
        assert deltas[-1].finish_reason == "stop"
        for length in (1, 2, 5, 6, 7):
            deltas = run(runtime, [[generation(key, max_tokens=length)]])
            assert ids_of(deltas, key) == answer[:length]
            assert deltas[-1].finish_reason == "length"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_every_token_has_the_logprob_that_it_has_without_speculation(
    shared: Shared, mode: str, temperature: float
) -> None:
    sampling = Sampling(temperature=temperature, seed=11, logprobs=0)
    asked = [generation(key, sampling) for key in PROMPTS]
    plain, guessed = (run(shared(one), [[each] for each in asked]) for one in (None, mode))
    assert any(len(delta.token_ids) > 1 for delta in guessed), "some guesses are right"
    for one in asked:
        given = [of.logprob for delta in guessed if delta.key == one.key for of in delta.logprobs]
        assert len(given) == LENGTH
        expected = [of.logprob for delta in plain if delta.key == one.key for of in delta.logprobs]
        assert given == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_guesses_that_are_right_save_steps(shared: Shared, mode: str) -> None:
    runtime = shared(mode)
    runtime.submit(Generation(1, [6] * 5, 64, (), GREEDY))  # the model answers this with a loop
    steps = 0
    while runtime.idle_s() is not None:
        runtime.step()
        steps += 1
    assert steps < 48


@pytest.mark.parametrize("mode", MODES)
def test_requests_that_leave_in_between_do_not_touch_the_others(open_runtime: Open, alone: Alone, mode: str) -> None:
    chunk = {} if mode == "draft" else {"max_num_tokens": 100}
    runtime = open_runtime(mode, max_batch_size=4, **chunk)
    deltas: list[TokenDelta] = []
    for round in range(6):
        for key in PROMPTS:
            runtime.submit(Generation(10 * round + key, PROMPTS[key], LENGTH, (), GREEDY))
            deltas += runtime.step()
        for key in (2, 4, 5, 7):
            runtime.cancel(10 * round + key)
    while runtime.idle_s() is not None:
        deltas += runtime.step()
    for round in range(6):
        for key in (1, 3, 6, 8):
            assert ids_of(deltas, 10 * round + key) == alone(key, GREEDY)


@pytest.mark.parametrize("mode", MODES)
def test_a_cache_for_one_sequence_serves_many_in_turn(open_runtime: Open, alone: Alone, mode: str) -> None:
    runtime = open_runtime(mode, max_tokens_in_paged_kv_cache=128, max_batch_size=8)
    asked = [generation(key) for key in PROMPTS]
    deltas = run(runtime, [asked])
    assert [ids_of(deltas, one.key) for one in asked] == [alone(one.key, GREEDY) for one in asked]


@pytest.mark.parametrize("mode", MODES)
def test_the_longest_request_fits_together_with_its_candidates(open_runtime: Open, mode: str) -> None:
    runtime = open_runtime(mode, max_tokens_in_paged_kv_cache=1024, max_batch_size=1)
    deltas = run(runtime, [[Generation(1, [400] * 960, 64, (), GREEDY)]])
    assert len(ids_of(deltas, 1)) == 64
    assert deltas[-1].error is None


class PoisonedRuntime(OpenVinoRuntime):
    """An invalid grammar in request 3 makes the step fail, for everybody."""

    def _generation_config(self, running: Any) -> Any:
        config = super()._generation_config(running)
        if running.generation.key == 3:
            config.structured_output_config = openvino_genai.StructuredOutputConfig(json_schema='{"type": 12')
        return config


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("arrivals", [[(1, 2, 3, 4)], [(1, 2), (3,), (4,)], [(3,), (1,)]])
def test_a_request_that_breaks_the_pipeline_fails_alone(
    open_runtime: Open, alone: Alone, mode: str, arrivals: list[tuple[int, ...]]
) -> None:
    runtime = open_runtime(mode, PoisonedRuntime)
    deltas = run(runtime, [[generation(key) for key in group] for group in arrivals])
    for key in (key for group in arrivals for key in group):
        ends = [delta for delta in deltas if delta.key == key and (delta.finish_reason or delta.error)]
        assert len(ends) == 1
        assert (ends[0].error is not None) == (key == 3)
        if key != 3:
            assert ids_of(deltas, key) == alone(key, GREEDY)
