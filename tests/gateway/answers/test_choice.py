"""One choice of an answer: which text and tokens it has, and how many tokens it counts, however they arrive."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.backend import Delta, Generation, PromptText
from gateway.answers.choice import Choice
from gateway.answers.events import Event, Finish, Text, WholeChoice, fold
from triton_repo.contract.errors import EngineFailed, EngineUnavailable
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import FinishReason

TOKENS = ["one", " ", "tw", "o", " th", "ree", " four", " five"]


def generation(*stops: str, **sampling: Any) -> Generation:
    return Generation("id-0", "demo", PromptText("Hello"), Sampling(**sampling), stream=True, stops=stops)


def deltas(tokens: Sequence[str], size: int, end: FinishReason = "length") -> list[Delta]:
    """The tokens in deltas of `size`, each with the lengths of its tokens, and an end after them."""
    found = []
    for at in range(0, len(tokens), size):
        part = tokens[at : at + size]
        lengths = json.dumps([{"text_length": len(token)} for token in part])
        found.append(Delta("".join(part), "", 3, -1, at + len(part), lengths))
    return [*found, Delta("", end, 3, -1, len(tokens))]


def play(choice: Choice, script: Sequence[Delta]) -> list[Event]:
    events: list[Event] = []
    for delta in script:
        events += choice.feed(delta)
        if choice.finish_reason:
            break
    return events


def whole(events: Sequence[Event]) -> WholeChoice:
    return fold(events).choices[0]


@pytest.mark.parametrize("size", range(1, len(TOKENS) + 1))
def test_a_stop_string_ends_the_count_of_tokens_however_far_the_engine_has_run_ahead(size: int) -> None:
    choice = Choice(0, generation("o thr"))
    answer = whole(play(choice, deltas(TOKENS, size)))
    assert (answer.text, answer.reason, choice.completion_tokens) == ("one tw", "stop", 6)
    assert answer.tokens is None, "the lengths were asked for to count, not to be listed"


@pytest.mark.parametrize("size", range(1, 5))
def test_an_answer_is_cut_where_no_more_of_its_tokens_may_be_kept(size: int) -> None:
    choice = Choice(0, replace(generation("o x", logprobs=0), most_tokens=4))
    script = [each._replace(tokens=logprobs_of(each)) for each in deltas(TOKENS, size)]
    answer = whole(play(choice, script))
    kept = -(-4 // size) * size
    assert (answer.text, answer.reason) == ("".join(TOKENS[:kept]), "length")
    assert (choice.completion_tokens, len(answer.tokens or ())) == (kept, kept)


def logprobs_of(delta: Delta) -> str:
    lengths = json.loads(delta.tokens or "[]")
    return json.dumps([{"token": "x", "logprob": -1.0, "bytes": None, "top_logprobs": [], **each} for each in lengths])


def test_an_answer_that_no_stop_string_cuts_counts_what_the_engine_says() -> None:
    choice = Choice(0, generation("never"))
    assert whole(play(choice, deltas(TOKENS, 3))).text == "".join(TOKENS)
    assert choice.completion_tokens == len(TOKENS)


def test_an_engine_that_tells_no_lengths_has_its_own_count_taken() -> None:
    choice = Choice(0, generation("two"))
    answer = whole(play(choice, [Delta("one two three", "stop", 3, -1, 9)]))
    assert (answer.text, choice.completion_tokens) == ("one ", 9)


@pytest.mark.parametrize("size", range(1, len(TOKENS) + 1))
@pytest.mark.parametrize(
    ("min_tokens", "text"),
    [
        (0, "on"),
        (1, "one two thr"),
        (5, "one two thr"),
        (6, "one two three four fiv"),
        (8, "one two three four five"),
    ],
)
def test_min_tokens_hold_back_stop_strings(size: int, min_tokens: int, text: str) -> None:
    choice = Choice(0, generation("e", min_tokens=min_tokens))
    assert whole(play(choice, deltas(TOKENS, size))).text == text


@given(
    tokens=st.lists(st.text(alphabet="abc", max_size=3), max_size=10),
    stops=st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3),
    size=st.integers(1, 10),
    min_tokens=st.integers(0, 4),
    with_logprobs=st.booleans(),
)
def test_no_chunking_changes_the_answer(
    tokens: list[str], stops: list[str], size: int, min_tokens: int, with_logprobs: bool
) -> None:
    asked = generation(*stops, min_tokens=min_tokens, **({"logprobs": 0} if with_logprobs else {}))
    one_by_one, chunked = Choice(0, asked), Choice(0, asked)
    expected = whole(play(one_by_one, deltas(tokens, 1, "stop")))
    found = whole(play(chunked, deltas(tokens, size, "stop")))
    assert (found.text, found.reason) == (expected.text, expected.reason)
    assert chunked.completion_tokens == one_by_one.completion_tokens
    if with_logprobs:
        assert found.tokens == expected.tokens
        assert len(found.tokens or []) == chunked.completion_tokens


def test_text_that_is_held_back_is_no_event() -> None:
    choice = Choice(0, generation("stop"))
    assert choice.feed(Delta("st", "", 3, -1, 1)) == []
    assert choice.feed(Delta("ay", "", 3, -1, 2)) == [Text(0, "stay")]
    assert choice.feed(Delta("s", "stop", 3, -1, 3)) == [Text(0, "s"), Finish(0, "stop")]


@pytest.mark.parametrize(("reason", "error"), [("cancelled", EngineUnavailable), ("error", EngineFailed)])
def test_an_engine_that_did_not_complete_the_answer_is_an_error(reason: FinishReason, error: type[Exception]) -> None:
    with pytest.raises(error):
        Choice(0, generation()).feed(Delta("half", reason, 3, -1, 1))


@pytest.mark.parametrize("stop", ["ree", "one tw", "four five", "Hel"])
def test_a_prompt_that_is_echoed_ends_no_answer_and_is_not_counted(stop: str) -> None:
    prompt = ["Hel", "lo one", " tw"]
    plain = whole(play(Choice(0, generation(stop)), deltas(TOKENS, 2)))
    script = deltas(TOKENS, 2)
    lengths = [{"text_length": len(text)} for text in prompt] + json.loads(script[0].tokens)
    script[0] = script[0]._replace(text="".join(prompt) + script[0].text, tokens=json.dumps(lengths))
    choice = Choice(0, replace(generation(stop), echo="all"))
    echoed = whole(play(choice, script))
    assert (echoed.text, echoed.reason) == ("".join(prompt) + plain.text, plain.reason)
    alone = Choice(0, generation(stop))
    play(alone, deltas(TOKENS, 2))
    assert choice.completion_tokens == alone.completion_tokens
