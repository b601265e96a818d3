"""Choices that hold reasoning and tool calls: the same events, tokens and counts, however the text arrives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.backend import Delta, Generation, PromptText
from gateway.answers.calls.tools import Tool, Tools
from gateway.answers.choice import Choice
from gateway.answers.events import Event, WholeChoice, fold
from gateway.answers.parsing import Parsing
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import FinishReason

WEATHER = Tools((Tool("weather", {"type": "object", "properties": {"city": {"type": "string"}}}), Tool("now")))
CALLS = Parsing(tool_parser="hermes", tools=WEATHER)
THINKING = Parsing(tool_parser="hermes", reasoning_parser="qwen3", tools=WEATHER)
BONN = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'


def generation(parsing: Parsing, *stops: str, **sampling: Any) -> Generation:
    prompt, fields = PromptText("Hello"), Sampling(**sampling)
    return Generation("id-0", "demo", prompt, fields, stream=True, stops=stops, parsing=parsing)


def tokens_of(text: str) -> list[str]:
    """The text in pieces of two characters: each stands for a token."""
    return [text[at : at + 2] for at in range(0, len(text), 2)]


def deltas(tokens: Sequence[str], size: int, end: FinishReason = "stop", logprobs: bool = False) -> list[Delta]:
    found = []
    for at in range(0, len(tokens), size):
        part = tokens[at : at + size]
        entries: list[dict[str, Any]] = [{"text_length": len(token)} for token in part]
        if logprobs:
            entries = [{"token": token, **entry} for token, entry in zip(part, entries, strict=True)]
        found.append(Delta("".join(part), "", 3, -1, at + len(part), json.dumps(entries)))
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


def calls(choice: WholeChoice) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in choice.tool_calls]


def comparable(choice: WholeChoice) -> Any:
    """All of it but the ids of its calls, which are made up."""
    named = [(call.name, call.arguments) for call in choice.tool_calls]
    return choice.text, choice.reasoning, named, choice.tokens, choice.reason


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_text_and_calls_are_told_apart_and_the_answer_ends_with_tool_calls(size: int) -> None:
    choice = Choice(0, generation(CALLS))
    answer = whole(play(choice, deltas(tokens_of(f"Let me look.\n{BONN}\n{NOW}"), size)))
    assert (answer.text, answer.reason) == ("Let me look.", "tool_calls")
    assert calls(answer) == [("weather", {"city": "Bonn"}), ("now", {})]
    assert len({call.id for call in answer.tool_calls}) == 2
    assert all(call.id.startswith("call_") for call in answer.tool_calls)


def test_an_answer_without_a_call_stops_as_any_other() -> None:
    answer = whole(play(Choice(0, generation(CALLS)), deltas(tokens_of("No call <tool_"), 3)))
    assert (answer.text, answer.reason, answer.tool_calls) == ("No call <tool_", "stop", [])


def test_an_answer_that_is_too_long_says_so_whatever_it_holds() -> None:
    answer = whole(play(Choice(0, generation(CALLS)), deltas(tokens_of(BONN), 3, "length")))
    assert (answer.reason, len(answer.tool_calls)) == ("length", 1)
    cut = whole(play(Choice(0, generation(CALLS)), deltas(tokens_of(BONN[:57]), 3, "length")))
    assert (cut.reason, cut.tool_calls[0].arguments) == ("length", '{"city": "Bo')


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_second_of_calls_that_must_be_single_ends_the_answer_and_the_count(size: int) -> None:
    single = Parsing("hermes", None, Tools(WEATHER.tools, parallel=False))
    choice = Choice(0, generation(single))
    answer = whole(play(choice, deltas(tokens_of(BONN + NOW + "x" * 100), size)))
    assert (calls(answer), answer.reason) == ([("weather", {"city": "Bonn"})], "tool_calls")
    assert choice.completion_tokens == len(tokens_of(BONN + NOW[: NOW.index("{}") + 1]))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_stop_strings_are_found_in_the_text_and_neither_in_reasoning_nor_in_calls(size: int) -> None:
    text = f"<think>\nSTOP, Bonn?\n</think>\n\nI say Bonn. {BONN}STOP more"
    choice = Choice(0, generation(THINKING, "STOP"))
    answer = whole(play(choice, deltas(tokens_of(text), size)))
    assert (answer.reasoning, answer.text) == ("STOP, Bonn?", "I say Bonn.")
    assert (calls(answer), answer.reason) == ([("weather", {"city": "Bonn"})], "tool_calls")
    assert choice.completion_tokens == len(tokens_of(text[: text.rindex("STOP") + 4]))
    early = whole(play(Choice(0, generation(THINKING, "say")), deltas(tokens_of(text), size)))
    assert (early.reasoning, early.text, early.tool_calls, early.reason) == ("STOP, Bonn?", "I ", [], "stop")


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_reasoning_tokens_are_those_that_lead_up_to_the_end_of_the_reasoning(size: int) -> None:
    tokens = ["<think>", "\n", "so", " be", " it", "\n", "</think>", "\n\n", "Yes", "."]
    choice = Choice(0, generation(THINKING))
    answer = whole(play(choice, deltas(tokens, size)))
    assert (answer.reasoning, answer.text, choice.reasoning_tokens) == ("so be it", "Yes.", 5)
    cut = Choice(0, generation(THINKING))
    play(cut, deltas(tokens[:6], size, "length"))
    assert cut.reasoning_tokens == 6, "all of an answer that ends within its reasoning"
    none = Choice(0, generation(THINKING))
    play(none, deltas(["No", " need"], size))
    assert none.reasoning_tokens == 0


def test_reasoning_tokens_of_an_engine_that_tells_no_tokens_are_not_known() -> None:
    choice = Choice(0, generation(THINKING))
    play(choice, [Delta("<think>so</think>Yes", "stop", 3, -1, 9)])
    assert choice.reasoning_tokens is None


def test_a_prompt_that_ends_within_the_reasoning_begins_the_answer_there() -> None:
    parsing = Parsing(reasoning_parser="deepseek_r1", reasoning_is_open=True)
    answer = whole(play(Choice(0, generation(parsing)), deltas(tokens_of("so\n</think>\n\nYes"), 2)))
    assert (answer.reasoning, answer.text) == ("so", "Yes")


FRAGMENTS = [
    "<think>", "</think>", "\n", "so", " be it", BONN, NOW, "<tool_call>", "</tool_call>", '{"name": "now"', "}",
    "STOP", "ST", "a < b", "[1, 2]", " ", "é😀",
]  # fmt: skip


@given(
    text=st.lists(st.sampled_from(FRAGMENTS), max_size=10).map("".join),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 200), max_size=40, unique=True),
    stops=st.lists(st.sampled_from(["STOP", "be", "\n", "é"]), max_size=2, unique=True),
    min_tokens=st.integers(0, 6),
    with_logprobs=st.booleans(),
    parallel=st.booleans(),
    end=st.sampled_from(["stop", "length"]),
)
def test_no_chunking_changes_the_answer_its_tokens_or_their_counts(  # noqa: PLR0917
    text: str,
    sizes: list[int],
    cuts: list[int],
    stops: list[str],
    min_tokens: int,
    with_logprobs: bool,
    parallel: bool,
    end: FinishReason,
) -> None:
    bounds = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    tokens = [text[a:b] for a, b in pairwise(bounds)]
    parsing = Parsing("hermes", "qwen3", Tools(WEATHER.tools, parallel=parallel))
    asked = generation(parsing, *stops, min_tokens=min_tokens, **({"logprobs": 0} if with_logprobs else {}))
    expected: Any = None
    for size in (1, *sizes, 1000):
        choice = Choice(0, asked)
        answer = whole(play(choice, deltas(tokens, size, end, with_logprobs)))
        found = comparable(answer), choice.completion_tokens, choice.reasoning_tokens
        expected = expected or found
        assert found == expected
        if with_logprobs:
            assert len(answer.tokens or []) == choice.completion_tokens
