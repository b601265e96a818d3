"""A finished answer is held to its schema, within bounds of time and memory."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from gateway.answers import schema_check
from gateway.answers.schema_check import AnswerDoesNotMatch, NoSchema, check_answer, check_schema, schema_of
from triton_repo.contract.sampling import Guide

TREE = json.dumps(
    {
        "$defs": {
            "node": {
                "anyOf": [
                    {"type": "object", "properties": {"a": {"$ref": "#/$defs/node"}}, "required": ["x"]},
                    {"type": "object", "properties": {"a": {"$ref": "#/$defs/node"}}, "required": ["y"]},
                    {"type": "integer"},
                ]
            }
        },
        "$ref": "#/$defs/node",
    }
)


def check(schema: str, text: str) -> None:
    asyncio.run(check_answer(schema, text))


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ('{"type": "object"}', '{"a": 1}'),
        ("true", "123456789012345678901234567890"),
        (TREE, '{"a": {"a": 1, "x": 1}, "y": 2}'),
        ('{"maxLength": 3}', '"ä中😀"'),
    ],
)
def test_an_answer_that_matches_passes(schema: str, text: str) -> None:
    check(schema, text)


@pytest.mark.parametrize(
    ("schema", "text", "error"),
    [
        ('{"type": "object"}', "[1]", 'all of it: the value is not of type "object"'),
        ('{"items": {"properties": {"a": {"type": "null"}}}}', '[{"a": 1}]', "0.a: the value is not of type"),
        ('{"type": "object"}', '{"a": 1', "Expecting ',' delimiter"),
        ("true", "[" * 100_000, "recursion"),
        (TREE, '{"a": 1}', "the schema does not allow it"),
        ('{"pattern": "^(a+)+$"}', json.dumps("a" * 50_000 + "b"), "does not match"),
    ],
)
def test_an_answer_that_does_not_is_an_error(schema: str, text: str, error: str) -> None:
    with pytest.raises(AnswerDoesNotMatch, match=error):
        check(schema, text)


def test_a_check_that_takes_too_long_fails_closed_and_the_next_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    schema_check._checker().close()
    with monkeypatch.context() as patch:
        patch.setattr(schema_check, "_BOUNDS", replace(schema_check._BOUNDS, limit_s=0.02))
        with pytest.raises(AnswerDoesNotMatch, match=r"checking it takes longer than 0\.02 s of CPU time"):
            check(TREE, f"[{'1,' * 3_000_000}1]")
    check(TREE, "1")


@pytest.mark.parametrize("schema", [{"type": "text"}, {"$ref": "http://127.0.0.1:1/a"}, {"pattern": "(?=a)"}])
def test_what_is_no_schema_is_found_out_before(schema: object) -> None:
    with pytest.raises(NoSchema):
        check_schema(schema)


def test_only_guides_of_json_have_a_schema() -> None:
    assert schema_of(None) is None
    assert schema_of(Guide("regex", "a")) is None
    assert schema_of(Guide("json", None)) == '{"type": "object"}'
    assert schema_of(Guide("json_schema", "{}")) == "{}"


@pytest.mark.parametrize("of_names", [False, True])
def test_many_patterns_are_as_large_together_as_a_few(*, of_names: bool) -> None:
    def schema(num: int) -> dict[str, object]:
        patterns = [rf"\S{{400}}{number}" for number in range(num)]
        if of_names:
            return {"patternProperties": {pattern: {} for pattern in patterns}}
        return {"anyOf": [{"pattern": pattern} for pattern in patterns]}

    check_schema(schema(8))
    with pytest.raises(NoSchema):
        check_schema(schema(400))
