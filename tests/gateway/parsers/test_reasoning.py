"""Reasoning is told apart from the text and the calls behind it."""

from __future__ import annotations

import pytest

from gateway.parsers.families import REASONING_PARSERS, answer_parser, opens_reasoning
from tests.gateway.parsers.reading import Part, read
from tests.gateway.parsers.test_families import SCHEMAS, chunkings

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "x"}}\n</tool_call>'
F = ("call", "f", '{"a": "x"}')
THINKING = sorted(REASONING_PARSERS.keys() - {"openai_gptoss"})

CLOSED: list[tuple[str, list[Part]]] = [
    ("<think>\nwhy\n</think>\n\nso", [("reasoning", "why"), ("text", "so")]),
    ("<think>why</think>so", [("reasoning", "why"), ("text", "so")]),
    ("\n<think>why</think>\n\n  so", [("reasoning", "why"), ("text", "  so")]),
    ("<think>\n\n</think>\n\nso", [("text", "so")]),
    ("<think></think>", []),
    ("<think>a\n\nb", [("reasoning", "a\n\nb")]),
    ("<think>a</think>\n<think>b</think>c", [("reasoning", "ab"), ("text", "c")]),
    ("so", [("text", "so")]),
    ("I say <think> and </think>", [("text", "I say <think> and </think>")]),
    ("<thin air>", [("text", "<thin air>")]),
    ("<think>1 < 2 </thin </think>so", [("reasoning", "1 < 2 </thin "), ("text", "so")]),
    ("</think>so", [("text", "</think>so")]),
    (f"<think>why</think>\n\n{CALL}", [("reasoning", "why"), F]),
    (f"<think>why</think>\n\nI look.\n{CALL}\n", [("reasoning", "why"), ("text", "I look."), F]),
    (f"<think>why\n{CALL}", [("reasoning", "why"), F]),
    (f"<think>not yet {CALL}, but\n</think>\nno", [("reasoning", f"not yet {CALL}, but"), ("text", "no")]),
    ("<think>a <tool_call> is", [("reasoning", "a "), ("text", "<tool_call> is")]),
]
OPEN: list[tuple[str, list[Part]]] = [
    ("why\n</think>\n\nso", [("reasoning", "why"), ("text", "so")]),
    ("\nwhy", [("reasoning", "why")]),
    ("<think>\nwhy</think>so", [("reasoning", "why"), ("text", "so")]),
    ("</think>\n\nso", [("text", "so")]),
    (f"why</think>{CALL}", [("reasoning", "why"), F]),
]


@pytest.mark.parametrize(("answer", "expected"), CLOSED)
def test_reasoning_comes_first_between_its_markers(answer: str, expected: list[Part]) -> None:
    for cuts in chunkings(answer, 20):
        parser = answer_parser("hermes", "qwen3", SCHEMAS)
        assert parser is not None
        assert read(parser, answer, cuts) == expected


@pytest.mark.parametrize(("answer", "expected"), OPEN)
def test_the_prompt_may_have_begun_the_reasoning(answer: str, expected: list[Part]) -> None:
    for cuts in chunkings(answer, 20):
        parser = answer_parser("hermes", "deepseek_r1", SCHEMAS, reasoning_is_open=True)
        assert parser is not None
        assert read(parser, answer, cuts) == expected


@pytest.mark.parametrize("name", THINKING)
def test_every_family_has_its_markers(name: str) -> None:
    family = REASONING_PARSERS[name]
    answer = f"{family.start}one <b>two</b>\n{family.end}\nThree."
    for cuts in chunkings(answer, 5):
        parser = answer_parser(None, name)
        assert parser is not None
        assert read(parser, answer, cuts) == [("reasoning", "one <b>two</b>"), ("text", "Three.")]


@pytest.mark.parametrize(
    ("prompt", "is_open"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("<｜Assistant｜><think>", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<|im_start|>assistant\n", False),
        ("<|im_start|>user\nWhat is <think>?<|im_end|>\n<|im_start|>assistant\n", False),
    ],
)
def test_a_prompt_tells_whether_it_begins_the_reasoning(prompt: str, is_open: bool) -> None:
    assert opens_reasoning(prompt, "qwen3") == is_open
