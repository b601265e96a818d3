"""What the guides let a model write is what its family's parser reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.parsers.families import TOOL_PARSERS, answer_guide
from gateway.parsers.guides import CallForm, CallRules
from gateway.parsers.tools.forms import CALL_FORMS
from tests.gateway.parsers.reading import read
from tests.gateway.parsers.test_families import SCHEMAS, called, parser

REQUIRED, AUTO = CallRules(required=True), CallRules(required=False)
FORMATS = {
    "any_text",
    "const_string",
    "json_schema",
    "or",
    "qwen_xml_parameter",
    "regex",
    "sequence",
    "tag",
    "tags_with_separator",
    "triggered_tags",
}


def guide(family: str, rules: CallRules, reasoning: str | None = None, *, is_open: bool = False) -> dict[str, Any]:
    text = answer_guide(family, reasoning, SCHEMAS, rules, reasoning_is_open=is_open)
    assert text is not None
    format: dict[str, Any] = json.loads(text)["format"]
    return format


def written(form: CallForm, name: str) -> str:
    arguments = '{"a": "x"}' if form.content == "json_schema" else "<parameter=a>\nx\n</parameter>"
    index = f"0{form.index}" if form.index else ""
    return form.begin.replace("NAME", name) + index + arguments + form.end


@pytest.mark.parametrize("family", sorted(CALL_FORMS))
def test_the_parser_reads_what_the_guide_allows(family: str) -> None:
    form = CALL_FORMS[family]
    calls = form.opening + form.separator.join(written(form, name) for name in SCHEMAS) + form.closing
    expected = [("call", name, {"a": "x"}) for name in SCHEMAS]
    assert [part[:3] for part in called(read(parser(family), calls))] == expected


@pytest.mark.parametrize("family", sorted(CALL_FORMS))
def test_every_call_begins_with_its_trigger(family: str) -> None:
    format = guide(family, AUTO)
    assert format["type"] == "triggered_tags"
    assert all(tag["begin"].startswith(tuple(format["triggers"])) for tag in format["tags"])


@pytest.mark.parametrize("family", sorted(CALL_FORMS))
@pytest.mark.parametrize("rules", [REQUIRED, AUTO, CallRules(required=True, parallel=False)])
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
    assert all(answer_guide(family, None, SCHEMAS, AUTO) is None for family in without)
