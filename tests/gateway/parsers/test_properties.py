"""What holds of every parser for any text: nothing raises, nothing is lost, and chunks make no difference."""

from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.parsers.families import REASONING_PARSERS, TOOL_PARSERS, answer_parser
from gateway.parsers.parser import CallStart, Parser, ReasoningPiece, TextPiece
from tests.gateway.parsers.reading import parts, read
from tests.gateway.parsers.test_families import chunkings
from tests.gateway.parsers.writers import WRITERS

SCHEMAS = {"f": {"properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}, "g": {}}
PAIRS: list[tuple[str | None, str | None]] = [
    *((tools, None) for tools in TOOL_PARSERS),
    *((None, name) for name in REASONING_PARSERS),
]
COMPOSED: list[tuple[str | None, str | None]] = [
    ("hermes", "qwen3"),
    ("openai", "openai_gptoss"),
    ("mistral", "mistral"),
    ("glm45", "glm45"),
]
# What answers are made of, so that random ones come close to calls; and what tears them apart.
COMMON = [
    *'{}[]()<>",:;=\\\n \t',
    "\\u12",
    "\\ud83d",
    "\\ude00",
    '\\"',
    "name",
    "f",
    "g",
    "a",
    "n",
    "1",
    "null",
    "true",
    "é",
    "🙂",
    "x y",
]
COMMON += [
    '"name"',
    '"arguments"',
    '"parameters"',
    '{"name": "f", "arguments": {',
    '"a": "',
    "[f(a=",
    "```json\n",
    "<think>",
    "</think>",
]


def parser(tools: str | None, reasoning: str | None, *, is_open: bool = False) -> Parser:
    made = answer_parser(tools, reasoning, SCHEMAS if tools else None, reasoning_is_open=is_open)
    assert made is not None
    return made


def fragments(tools: str | None, reasoning: str | None) -> list[str]:
    found: list[str] = []
    if tools is not None:
        whole = WRITERS[tools]([("f", {"a": "x", "n": 1}), ("g", {})])
        found += [*TOOL_PARSERS[tools].keep_special, whole, whole[: len(whole) // 2], whole[len(whole) // 2 :]]
    if reasoning is not None:
        found += REASONING_PARSERS[reasoning].keep_special
    return found


@pytest.mark.parametrize(("tools", "reasoning"), PAIRS + COMPOSED)
def test_any_text_is_read_the_same_however_it_is_cut(tools: str | None, reasoning: str | None) -> None:
    pieces = st.lists(st.sampled_from(COMMON + fragments(tools, reasoning)), max_size=25)
    cuts = st.lists(st.integers(0, 400), max_size=12)

    @settings(max_examples=25, deadline=None)
    @given(pieces, cuts, st.booleans())
    def holds(pieces: list[str], cuts: list[int], is_open: bool) -> None:
        answer = "".join(pieces)
        whole = read(parser(tools, reasoning, is_open=is_open), answer)
        assert read(parser(tools, reasoning, is_open=is_open), answer, (min(cut, len(answer)) for cut in cuts)) == whole
        assert read(parser(tools, reasoning, is_open=is_open), answer, range(len(answer))) == whole
        if "openai" not in (tools, str(reasoning)[:6]) and all(kind == "text" for kind, *_ in whole):
            said = "".join(text for _, text in whole)
            assert said == answer or (reasoning is not None and answer.endswith(said))

    holds()


def test_the_start_of_a_quote_that_goes_on_otherwise_is_text_of_the_string_however_it_is_cut() -> None:
    answer = "<start_function_call>call:f{a:<escape>x<esca<b>y<escape>}<end_function_call>"
    for size in range(1, len(answer)):
        parser = answer_parser("functiongemma", None, {})
        assert parser is not None
        assert read(parser, answer, range(0, len(answer), size)) == [("call", "f", '{"a":"x<esca<b>y"}')]


@pytest.mark.parametrize("tools", sorted(TOOL_PARSERS))
def test_text_without_a_marker_leaves_at_once(tools: str) -> None:
    made = parser(tools, None)
    for word in ("Hello", ",", " world", " 1", " is", " 2", "."):
        assert made.feed(word) == [TextPiece(word)] or tools == "openai"


@pytest.mark.parametrize(
    "text", ["<think>", "a <think> b", "say <tool_call> or </tool_call>", "x < y", "<tool", "[1, 2](3)"]
)
def test_a_marker_alone_or_its_start_is_text(text: str) -> None:
    assert read(parser("hermes", None), text) == [("text", text)]


@pytest.mark.parametrize("tools", sorted(TOOL_PARSERS))
def test_a_brace_behind_a_marker_is_not_lost(tools: str) -> None:
    start = TOOL_PARSERS[tools].keep_special[0]
    assert read(parser(tools, None), f"{start}{{") == [("text", f"{start}{{")] or tools == "openai"


def test_arguments_are_streamed_as_they_come() -> None:
    made = parser("hermes", None)
    assert made.feed('<tool_call>{"name": "f", "arguments": {"a": "b') == [CallStart("f"), ("{" + '"a": "b',)]
    assert made.feed("c") == [("c",)]
    made = parser("qwen3_coder", None)
    assert made.feed("<tool_call><function=f><parameter=a>\nb") == [CallStart("f"), ('{"a": ',), ('"',), ("b",)]
    assert made.feed('"c') == [('\\"c',)]


def test_reasoning_is_streamed_as_it_comes() -> None:
    made = parser("hermes", "qwen3")
    assert made.feed("<think>\nI") == [ReasoningPiece("I")]
    assert made.feed(" think") == [ReasoningPiece(" think")]
    assert made.feed("\n</think>\n\nSo") == [TextPiece("So")]


def test_text_behind_a_start_marker_without_a_message_is_not_lost() -> None:
    text = "no header " * 100
    for cuts in chunkings(text, 3):
        assert read(parser("openai", None), f"<|start|>{text}", cuts) == [("text", f"<|start|>{text}")]


def test_arguments_that_are_no_json_stay_as_they_are() -> None:
    answer = "<|channel|>commentary to=functions.f<|message|> print(1)\n \n x <|call|>"
    for cuts in chunkings(answer, 3):
        assert read(parser("openai", None), answer, cuts) == [("call", "f", "print(1)\n \n x")]


def calls_made(tools: str, answer: str, chunk: int) -> int:
    """How many functions, of Python and C, reading this answer in chunks calls."""
    made = parser(tools, None)
    count = itertools.count()
    sys.setprofile(lambda _frame, _event, _argument: next(count))
    try:
        for start in range(0, len(answer), chunk):
            made.feed(answer[start : start + chunk])
        made.finish()
    finally:
        sys.setprofile(None)
    return next(count)


@pytest.mark.parametrize("tools", sorted(TOOL_PARSERS))
@pytest.mark.parametrize(
    "unit", ["{", "\\", '"', "[", "<", " ", "\n", '{"', "<tool_call>", "<|", "</parameter>\n", "f("]
)
def test_work_grows_no_faster_than_the_text(tools: str, unit: str) -> None:
    """Both as text and within a call: the work per character is bounded, and so is what is held unread."""
    opening = WRITERS[tools]([("f", {"a": "x"})]).split("x")[0]
    for start in ("", opening):
        small, large = (calls_made(tools, start + unit * (size // len(unit)), 7) for size in (700, 2800))
        assert large < 4.5 * small + 200


@pytest.mark.parametrize("tools", ["hermes", "qwen3_coder", "pythonic", "gemma4", "openai"])
def test_a_megabyte_of_brackets_and_backslashes_is_read(tools: str) -> None:
    for value in ("{" * 1_000_000, "\\" * 1_000_000, '\\"[' * 300_000):
        answer = WRITERS[tools]([("f", {"a": value})])
        made = parser(tools, None)
        pieces = [piece for start in range(0, len(answer), 4096) for piece in made.feed(answer[start : start + 4096])]
        assert [name for kind, name, *_ in parts([*pieces, *made.finish()])] == ["f"]


DEEPSEEK_CALL = (
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜>\n"
)


@pytest.mark.parametrize(
    ("tools", "answer"),
    [
        ("qwen3_coder", "<tool_call>\n<function=f>\n<parameter=a>\nx\n</parameter>\n<parameter=n" + "[" * 300),
        ("glm45", "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>\n<arg_key>" + "kf<" * 100),
        ("deepseek_v3", f"{DEEPSEEK_CALL}<｜tool▁call▁begin｜>function<｜to" + "</think>" * 40),
        ("openai", "<|message|>a<|channel|>commentary to=functions.f " + "<|constrain|>y " * 60 + "x"),
    ],
)
def test_a_name_that_never_ends_is_read_the_same_however_it_is_cut(tools: str, answer: str) -> None:
    whole = read(parser(tools, None), answer)
    for step in (1, 5, 64):
        assert read(parser(tools, None), answer, range(0, len(answer), step)) == whole
