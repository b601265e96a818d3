"""What the guides let a model write is what its family's parser reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.parsers.families import TOOL_PARSERS, answer_guide, answer_parser, has_guide
from gateway.parsers.guides import CallForm, CallRules
from gateway.parsers.parser import CallStart, TextPiece
from gateway.parsers.tools.forms import CALL_FORMS
from tests.gateway.parsers.reading import read
from tests.gateway.parsers.test_families import SCHEMAS, called, parser

REQUIRED, AUTO = CallRules(required=True), CallRules(required=False)
FORM_OR_CALLS = CallRules(required=False, text={"type": "json_schema", "json_schema": {"type": "object"}})
FORMATS = {
    "any_text",
    "const_string",
    "json_schema",
    "or",
    "regex",
    "sequence",
    "tag",
    "tags_with_separator",
    "triggered_tags",
}


def guide(family: str, rules: CallRules, reasoning: str | None = None, *, is_open: bool = False) -> dict[str, Any]:
    text = answer_guide(family, reasoning, SCHEMAS, rules, reasoning_is_open=is_open)
    format: dict[str, Any] = json.loads(text)["format"]
    return format


def written(form: CallForm, name: str) -> str:
    index = f"0{form.index}" if form.index else ""
    return form.begin.replace("NAME", name) + index + '{"a": "x"}' + form.end


@pytest.mark.parametrize("family", sorted(CALL_FORMS))
def test_the_parser_reads_what_the_guide_allows(family: str) -> None:
    form = CALL_FORMS[family]
    calls = form.opening + form.separator.join(written(form, name) for name in SCHEMAS) + form.closing
    expected = [("call", name, {"a": "x"}) for name in SCHEMAS]
    assert [part[:3] for part in called(read(parser(family), calls))] == expected


@pytest.mark.parametrize("family", sorted(family for family in CALL_FORMS if has_guide(family, within_text=True)))
def test_every_call_begins_with_its_trigger(family: str) -> None:
    format = guide(family, AUTO)
    assert format["type"] == "triggered_tags"
    assert all(tag["begin"].startswith(tuple(format["triggers"])) for tag in format["tags"])


@pytest.mark.parametrize("family", sorted(CALL_FORMS))
@pytest.mark.parametrize("rules", [REQUIRED, AUTO, CallRules(required=True, parallel=False), FORM_OR_CALLS])
def test_guides_are_made_of_what_every_engine_knows(family: str, rules: CallRules) -> None:
    def types(format: Any) -> set[str]:
        inner = [*format.get("elements", ()), *format.get("tags", ()), *filter(None, [format.get("content")])]
        return {format["type"]}.union(*map(types, inner))

    assert types(guide(family, rules)) <= FORMATS
    assert types(guide(family, rules, "qwen3")) <= FORMATS
    assert types(guide(family, rules, "qwen3", is_open=True)) <= FORMATS


def test_arguments_that_the_schema_says_nothing_of_may_be_any_object() -> None:
    f, other = guide("hermes", REQUIRED)["tags"]
    assert f["content"]["json_schema"] == SCHEMAS["f"]
    assert other["content"]["json_schema"] == {"type": "object", "additionalProperties": True}


def test_one_call_is_enough_where_calls_are_not_parallel() -> None:
    assert guide("hermes", CallRules(required=True, parallel=False))["stop_after_first"]
    assert not guide("hermes", REQUIRED)["stop_after_first"]


def test_reasoning_may_come_before_required_calls() -> None:
    after_reasoning, at_once = guide("hermes", REQUIRED, "qwen3")["elements"]
    reasoning, breaks, calls = after_reasoning["elements"]
    assert reasoning == {"type": "tag", "begin": "<think>", "content": {"type": "any_text"}, "end": "</think>"}
    assert breaks == {"type": "regex", "pattern": r"\n{0,2}"}
    assert calls == at_once == guide("hermes", REQUIRED)
    reasoning, _, calls = guide("hermes", REQUIRED, "qwen3", is_open=True)["elements"]
    assert (reasoning["begin"], reasoning["end"]) == ("", "</think>")


def test_families_without_a_form_have_no_guide() -> None:
    without = TOOL_PARSERS.keys() - CALL_FORMS.keys()
    assert without
    assert not any(has_guide(family, within_text=False) for family in without)


def test_calls_that_begin_as_any_object_does_are_guided_alone_and_not_within_text() -> None:
    assert has_guide("llama3_json", within_text=False)
    assert not has_guide("llama3_json", within_text=True)


CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "x"}}\n</tool_call>'


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("reasoning", ["", "<think>\nwell\n</think>\n\n"])
def test_a_set_text_may_hold_the_marker_of_a_call(size: int, reasoning: str) -> None:
    def pieces(answer: str) -> list[Any]:
        made = answer_parser("hermes", "qwen3", SCHEMAS, text_is_set=True)
        assert made is not None
        text = reasoning + answer
        fed = [piece for start in range(0, len(text), size) for piece in made.feed(text[start : start + size])]
        return [*fed, *made.finish()]

    form = json.dumps({"a": CALL}) + "\n"
    assert "".join(piece.text for piece in pieces(form) if isinstance(piece, TextPiece)) == form
    assert [piece.name for piece in pieces(CALL) if isinstance(piece, CallStart)] == ["f"]
    assert "".join(piece.text for piece in pieces("<tool") if isinstance(piece, TextPiece)) == "<tool"
