"""Every family's calls are read as they were written, whatever is in them and however they are cut."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any, Final

import pytest

from gateway.parsers.families import TOOL_PARSERS, answer_parser
from gateway.parsers.parser import Parser
from tests.gateway.parsers.reading import Part, read
from tests.gateway.parsers.writers import WRITERS, Arguments, Calls

TEXT: Final = {"type": "string"}
TYPES: Final = {
    "a": TEXT,
    "b": TEXT,
    "n": {"type": ["number", "null"]},
    "o": {"type": "object"},
    "l": {"type": "array"},
}
SCHEMAS: Final = {"f": {"type": "object", "properties": {**TYPES, "yes": {"type": "boolean"}}}, "get_weather-2": {}}
FAMILIES: Final = sorted(TOOL_PARSERS)

ARGUMENTS: Final[list[Arguments]] = [
    {},
    {"a": ""},
    {"a": "Paris", "b": "two words"},
    {"a": "she said \"no\" \\ and 'left'"},
    {"a": "{[}] (a, b=c): x; y"},
    {"a": "line\nline\r\n\ttab", "b": " spaced "},
    {"a": "naïve 東京 🙂 \x7f \u2028", "b": "\\u0041 \\n \\"},
    {"a": "```json\n{}\n``` <b>bold</b> <!-- --> & &amp;"},
    {"a": '{"name": "f", "arguments": {}}', "b": "[f(a=1)]"},
    {"a": "true", "b": "12"},
    {"n": 5, "yes": True},
    {"n": -1.5e-3, "yes": False},
    {"n": None},
    {"o": {"k": {"deep": [1, [2, {"x": "}]"}], {}, []]}, "t": "12:30"}},
    {"l": ["a", 1, None, False, {"k": "v,w"}]},
]


def parser(tools: str | None, reasoning: str | None = None) -> Parser:
    made = answer_parser(tools, reasoning, SCHEMAS)
    assert made is not None
    return made


def chunkings(answer: str, count: int) -> Iterable[list[int]]:
    yield []
    yield list(range(len(answer)))
    for seed in range(count):
        yield random.Random(seed).sample(range(len(answer) + 1), min(len(answer), 4))


def called(parts: list[Part]) -> list[tuple[Any, ...]]:
    return [(kind, rest[0], json.loads(rest[1])) if kind == "call" else (kind, *rest) for kind, *rest in parts]


def around(family: str) -> tuple[str, str]:
    """Text before and behind calls, as the family's answers have it."""
    if family == "openai":
        return "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant", ""
    return "Let me look.\n\n", "\n"


@pytest.mark.parametrize("family", FAMILIES)
def test_calls_are_read_as_they_were_written(family: str) -> None:
    before, behind = around(family)
    for arguments in ARGUMENTS:
        calls = [("f", arguments)]
        answer = before + WRITERS[family](calls) + behind
        expected = [("text", "Let me look."), ("call", "f", arguments)]
        for cuts in chunkings(answer, 3):
            assert called(read(parser(family), answer, cuts)) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_several_calls_are_read_one_by_one(family: str) -> None:
    calls: Calls = [("f", {"a": "1"}), ("get_weather-2", {}), ("f", {"n": 2, "o": {}})]
    answer = WRITERS[family](calls)
    for cuts in chunkings(answer, 20):
        assert called(read(parser(family), answer, cuts)) == [("call", *call) for call in calls]


STRING = r'"{\"a\": \"x \\\"y\\\"\"}"'


@pytest.mark.parametrize(
    ("family", "answer"),
    [
        ("hermes", f'<tool_call>{{"name": "f", "arguments": {STRING}}}</tool_call>'),
        ("llama3_json", f'{{"name": "f", "parameters": {STRING}}}'),
        ("mistral", f"[TOOL_CALLS]f[ARGS]{STRING}"),
        ("deepseek_v3", f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{STRING}\n```<｜tool▁call▁end｜>"),
        ("deepseek_v31", f"<｜tool▁call▁begin｜>f<｜tool▁sep｜>{STRING}<｜tool▁call▁end｜>"),
        ("kimi_k2", f"<|tool_call_begin|>f<|tool_call_argument_begin|>{STRING}<|tool_call_end|>"),
        ("openai", f"<|channel|>commentary to=functions.f<|message|>{STRING}<|call|>"),
        ("lfm2", """<|tool_call_start|>[f({'a': 'x "y"'})]<|tool_call_end|>"""),
    ],
)
def test_arguments_may_be_in_one_string_or_dictionary(family: str, answer: str) -> None:
    for cuts in chunkings(answer, 20):
        assert called(read(parser(family), answer, cuts)) == [("call", "f", {"a": 'x "y"'})]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_that_is_cut_off_anywhere_keeps_what_it_has(family: str) -> None:
    """The arguments so far are a start of the whole ones, and what is cut off before a call is certain stays text."""
    answer = WRITERS[family]([("f", {"a": 'x "y"', "n": 5, "o": {"k": [1]}})])
    (whole,) = read(parser(family), answer)
    for end in range(len(answer)):
        parts = read(parser(family), answer[:end])
        assert parts == read(parser(family), answer[:end], range(end))
        match parts:
            case [("text", text)]:
                assert answer.startswith(text)
            case [("cut" | "call", "f", arguments, *_)]:
                assert whole[2].startswith(arguments)
            case _:
                assert parts == []
