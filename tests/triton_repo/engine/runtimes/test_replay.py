"""The replay runtime plays its text at its pace."""

from __future__ import annotations

from triton_repo.contract.engine_config import ReplayConfig
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.replay import ReplayRuntime
from triton_repo.engine.runtimes.runtime import Generation, TokenDelta

TEXT = (5, 6, 7)


def play(runtime: ReplayRuntime, generation: Generation) -> tuple[list[int], str]:
    runtime.submit(generation)
    deltas: list[TokenDelta] = []
    while runtime.idle_s() is not None:
        deltas += runtime.step()
    return [id for delta in deltas for id in delta.token_ids], deltas[-1].finish_reason


def generation(max_tokens: int, **sampling: bool | int) -> Generation:
    return Generation(1, [1], max_tokens, (2,), Sampling.model_validate(sampling))


def test_the_text_is_played_once_and_ends_by_itself() -> None:
    assert play(ReplayRuntime(ReplayConfig(token_ids=TEXT)), generation(10)) == ([5, 6, 7], "stop")


def test_max_tokens_cuts_the_text() -> None:
    assert play(ReplayRuntime(ReplayConfig(token_ids=TEXT)), generation(2)) == ([5, 6], "length")


def test_with_ignore_eos_the_text_goes_round() -> None:
    assert play(ReplayRuntime(ReplayConfig(token_ids=TEXT)), generation(7, ignore_eos=True)) == (
        [5, 6, 7, 5, 6, 7, 5],
        "length",
    )


def test_tokens_come_at_their_pace() -> None:
    now = 100.0
    runtime = ReplayRuntime(ReplayConfig(token_ids=TEXT, tokens_per_second=10), clock=lambda: now)
    runtime.submit(generation(10))
    assert [delta.token_ids for delta in runtime.step()] == [(5,)]
    assert runtime.step() == []
    assert runtime.idle_s() is not None
    assert abs((runtime.idle_s() or 0) - 0.1) < 1e-9
    now = 100.11
    assert [delta.token_ids for delta in runtime.step()] == [(6,)]


def test_a_cancelled_generation_plays_no_more() -> None:
    runtime = ReplayRuntime(ReplayConfig(token_ids=TEXT))
    runtime.submit(generation(10))
    runtime.step()
    runtime.cancel(1)
    assert runtime.step() == []
    assert runtime.idle_s() is None
