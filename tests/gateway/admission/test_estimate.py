"""What a request is expected to cost."""

from __future__ import annotations

import pytest

from gateway.admission.estimate import Estimate, Prompt


def test_room_is_that_of_the_longest_answer_and_cost_that_of_a_usual_one() -> None:
    estimate = Estimate(max_seq_len=2048)
    assert estimate.work(Prompt(400, 100), 1000) == (1100, 100 + 256)
    assert estimate.work(Prompt(400, 100), 8) == (108, 108)
    assert estimate.work(Prompt(10**6, 10**5), 8) == (2048, 2048)


def test_room_without_a_longest_answer_is_twice_that_of_a_usual_one_within_the_context() -> None:
    estimate = Estimate(max_seq_len=2048)
    assert estimate.work(Prompt(400, 100), None) == (100 + 512, 100 + 256)
    assert estimate.work(Prompt(7600, 1900), None) == (2048, 2048)
    for _ in range(200):
        estimate.learn(Prompt(400, 100), prompt_tokens=100, completion_tokens=16)
    assert estimate.work(Prompt(400, 100), None) == (100 + 32, 100 + 16)


def test_the_tokens_of_a_text_are_guessed_from_its_bytes_and_better_with_each_answer() -> None:
    estimate = Estimate(max_seq_len=10_000)
    assert estimate.work(Prompt(4000), 1).num_tokens == 1002
    for _ in range(200):
        estimate.learn(Prompt(4000), prompt_tokens=2000, completion_tokens=16)
    room, cost = estimate.work(Prompt(4000), 100)
    assert 2000 <= room - 100 <= 2010
    assert 2000 + 16 <= cost <= 2000 + 30


def test_no_answer_says_that_a_token_has_no_bytes_or_thousands() -> None:
    for num_bytes, prompt_tokens, tokens in ((8_000_000, 20, 250), (1, 2000, 4000)):
        estimate = Estimate(max_seq_len=10_000)
        for _ in range(200):
            estimate.learn(Prompt(num_bytes), prompt_tokens, completion_tokens=1)
        assert estimate.work(Prompt(4000), 1).num_tokens == pytest.approx(tokens, rel=0.01)
