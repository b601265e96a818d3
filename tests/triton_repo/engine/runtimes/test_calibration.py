"""How many tokens a step may hold: by the engine's speed, and never fewer than the running streams need."""

from __future__ import annotations

from typing import Any

import pytest

from build_scripts.build import ensure_engine
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.openvino.calibration import limit_of_step, tokens_within
from triton_repo.engine.runtimes.openvino.pipeline import open_pipeline
from triton_repo.engine.runtimes.openvino.runtime import OpenVinoRuntime
from triton_repo.engine.runtimes.runtime import Generation

TIMES_S = {16: 0.03, 96: 0.11}  # 1 ms for each token, and 14 ms for each step


@pytest.mark.parametrize(("gap_s", "tokens"), [(0.2, 128), (0.3, 256), (0.08, 64), (10.0, 8192), (0.001, 64)])
def test_a_step_holds_the_power_of_two_that_fits_into_the_gap_and_room_for_all_streams(
    gap_s: float, tokens: int
) -> None:
    assert tokens_within(gap_s, TIMES_S, smallest=48) == tokens


def test_an_engine_too_fast_to_be_measured_is_not_bounded() -> None:
    assert tokens_within(0.2, {16: 0.01, 96: 0.009}, smallest=48) > 1 << 20


def test_a_measurement_that_was_disturbed_bounds_no_step_below_what_it_needs() -> None:
    assert tokens_within(0.01, {16: 0.2, 96: 0.1}, smallest=48) == 64


def config(**settings: Any) -> EngineConfig:
    return EngineConfig.load(ensure_engine("demo").directory).model_copy(update=settings)


@pytest.mark.parametrize("settings", [{"max_gap_s": 0.0}, {"max_gap_s": 1e-6, "enable_chunked_context": False}])
def test_without_a_gap_or_where_prompts_are_not_split_nothing_is_bounded(settings: dict[str, Any]) -> None:
    asked = config(max_num_tokens=4096, **settings)
    assert limit_of_step(None, asked) == 4096


def test_the_demo_is_bounded_by_a_gap_that_it_cannot_keep_and_answers_the_same() -> None:
    model = ensure_engine("demo").directory / "model"
    asked = config(max_num_tokens=512, max_gap_s=1e-6, max_batch_size=16)
    assert limit_of_step(open_pipeline(model, asked), asked) == 64
    answers = []
    for gap_s in (0.0, 1e-6):
        runtime = OpenVinoRuntime(model, asked.model_copy(update={"max_gap_s": gap_s}))
        runtime.submit(Generation(1, list(range(300, 600)), 12, (), Sampling(temperature=0.0)))
        ids: list[int] = []
        steps = 0
        while runtime.idle_s() is not None:
            ids += [id for delta in runtime.step() for id in delta.token_ids]
            steps += 1
        answers.append((ids, steps))
    (whole, few), (bounded, many) = answers
    assert whole == bounded
    assert many > few
