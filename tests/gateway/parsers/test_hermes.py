"""`<tool_call>` and `<think>`, read in every chunking."""

from __future__ import annotations

import random

import pytest

from gateway.parsers.families import answer_parser
from tests.gateway.parsers.reading import Part, read

ANSWERS: list[tuple[str, list[Part]]] = [
    ("plain", [("text", "plain")]),
    ("  spaced \n", [("text", "  spaced \n")]),
    ("a <tool_call> b", [("text", "a <tool_call> b")]),
    (
        'Well.\n<tool_call>\n{"name": "f", "arguments": {"a": "</tool_call>\\"}"}}\n</tool_call>',
        [("text", "Well."), ("call", "f", '{"a": "</tool_call>\\"}"}')],
    ),
    ('<tool_call>{"name":"f"}</tool_call>', [("call", "f", "{}")]),
    ('<tool_call>{"name":"f", "arguments": null}', [("call", "f", "{}")]),
    ('<tool_call>{"arguments": {}, "name":"f"}}</tool_call>\n', [("call", "f", "{}")]),
    ('<tool_call>{"name":"f","arguments":{"a": "x', [("cut", "f", '{"a": "x')]),
    ("<think>\nwhy\n</think>\n\nbecause", [("reasoning", "why"), ("text", "because")]),
    ('<think>why</think>\n<tool_call>{"name":"f"}', [("reasoning", "why"), ("call", "f", "{}")]),
]


@pytest.mark.parametrize(("answer", "expected"), ANSWERS, ids=range(len(ANSWERS)))
def test_an_answer_is_the_same_in_every_chunking(answer: str, expected: list[Part]) -> None:
    chunkings = [[], range(len(answer)), *(random.Random(seed).sample(range(len(answer)), 3) for seed in range(50))]
    for cuts in chunkings:
        parser = answer_parser("hermes", "qwen3", {})
        assert parser is not None
        assert read(parser, answer, cuts) == expected
