"""What is rejected of schemas, and what is not even tried by a grammar."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from triton_repo.engine.schema.convert import grammar_of
from triton_repo.engine.schema.keywords import not_enforced


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        (False, "nothing matches this schema"),
        ({"enum": []}, "no value is left"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "no string has at least 3 and at most 2"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no integer lies between 3 and 2"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "no array has at least 3 and at most 2"),
        ({"type": "array", "items": False, "minItems": 1}, "no array has 1 items"),
        ({"type": "object", "required": ["a"], "properties": {"a": False}}, "allows nothing"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "no type is allowed by both"),
        ({"type": "text"}, "type 'text': must be one of"),
        ({"$ref": "#/$defs/a"}, "leads to nothing"),
        ({"$ref": "https://example.com/a.json"}, "only references within the schema are followed"),
        ({"$dynamicRef": "#a"}, "cannot be enforced"),
        ({"type": "string", "pattern": "(?=a)b"}, "has lookaround, which cannot be enforced"),
        ({"type": "string", "maxLength": -1}, "must be an integer ≥ 0"),
        ({"type": "array", "minItems": 10**9}, "at most 4096 can be enforced"),
        ({"multipleOf": 10**400, "minimum": 1, "maximum": 2}, "multipleOf = 1000"),
        ({"type": "number", "minimum": 1e300}, "numbers beyond 1e[+]24 cannot be enforced"),
        ({"type": "string", "pattern": "x" * 3000}, "too complex to be enforced"),
        ({"type": "string", "pattern": "(?:x|y)?[a-z_-]+.{0,9}" * 60}, "too complex to be enforced"),
        ({"type": "number", "multipleOf": 0.01, "minimum": 0.001, "maximum": 0.5}, "multipleOf"),
    ],
)
def test_what_nothing_matches_or_no_grammar_can_say_is_rejected(schema: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        grammar_of(schema)


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        ("text", "a JSON schema is an object or a boolean, not 'text'"),
        ({"properties": {"a": 5}}, "a JSON schema is an object or a boolean, not 5"),
        ({"properties": ["a"]}, "properties = an array: must be an object of schemas"),
        ({"additionalProperties": [[]]}, "a JSON schema is an object or a boolean, not an array"),
        ({"anyOf": {"type": "null"}}, "anyOf = an object: must be an array of schemas"),
        ({"anyOf": ["", {}]}, "a JSON schema is an object or a boolean, not ''"),
        ({"allOf": [{"minLength": 1}, None]}, "a JSON schema is an object or a boolean, not None"),
        ({"$ref": 1.5}, "[$]ref = 1.5: must be a string"),
        ({"$ref": "#/x", "x": {"required": "a"}}, "required = 'a': must be an array of strings"),
        ({"required": True}, "required = True: must be an array of strings"),
        ({"type": {"a": 1}}, "type = an object: must be a string or an array of strings"),
        ({"enum": "a"}, "enum = 'a': must be an array"),
        ({"type": "integer", "minimum": "1"}, "minimum = '1': must be a number"),
        ({"type": "integer", "multipleOf": 0}, "multipleOf = 0: must be a number > 0"),
        ({"maxLength": float("inf")}, "maxLength = inf: must be an integer ≥ 0"),
        ({"maxLength": None}, "maxLength = None: must be an integer ≥ 0"),
        ({"pattern": ["a"]}, "pattern = an array: must be a string"),
        ({"patternProperties": {"(": {}}, "properties": {"a": {}}}, "pattern '[(]': missing [)]"),
        ({"dependentRequired": {"a": "b"}}, "dependentRequired = an object: must be an object of arrays of strings"),
    ],
)
def test_what_is_no_schema_is_rejected_by_its_keyword(schema: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        grammar_of(schema)


def test_names_of_properties_may_be_bounded_without_a_pattern() -> None:
    schema = {"propertyNames": {"maxLength": 1}, "properties": {"a": {}, "bb": {}}, "type": "object"}
    assert "bb" not in grammar_of(schema)


def test_multiples_that_are_too_far_away_to_be_written_take_no_room_in_a_grammar() -> None:
    assert len(grammar_of({"type": "integer", "multipleOf": 1e308})) < 1000


def test_bounds_that_no_number_reaches_are_none() -> None:
    assert grammar_of({"type": "number", "minimum": -1e308, "maximum": 1e308}) == grammar_of({"type": "number"})


def test_notes_on_both_sides_are_no_contradiction() -> None:
    notes = [{"x-translation": 1, "title": "a", "if": {}}, {"x-translation": 2, "title": "b", "if": True}]
    grammar_of({"type": "integer", "allOf": notes})
    with pytest.raises(ValueError, match="allOf with two of multipleOf"):
        grammar_of({"type": "integer", "allOf": [{"multipleOf": 2}, {"multipleOf": 3}]})


def test_a_circle_of_references_ends() -> None:
    for circle in (
        {"allOf": [{"$ref": "#"}]},
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    ):
        with suppress(ValueError):
            grammar_of(circle)


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ({"type": "object", "properties": {"not": {"type": "string"}}}, []),
        ({"enum": [{"not": 1}]}, []),
        ({"properties": {"a": {"not": {"type": "null"}}}}, ["properties.a.not"]),
        ({"items": {"uniqueItems": True}}, ["items.uniqueItems"]),
        ({"items": {"uniqueItems": False}}, []),
        ({"anyOf": [{"if": {}, "then": {}}, True]}, ["anyOf.0.if", "anyOf.0.then"]),
        ({"type": "string", "maxLength": 5000}, ["maxLength"]),
        ({"type": "string", "maxLength": 50}, []),
        ({"format": "date-time"}, []),
        ({"format": "iri"}, ["format"]),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, []),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, ["oneOf"]),
        (
            {
                "oneOf": [
                    {"properties": {"k": {"const": "a"}}, "required": ["k"]},
                    {"properties": {"k": {"const": "b"}}, "required": ["k"]},
                ]
            },
            [],
        ),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, ["oneOf"]),
    ],
)
def test_what_no_grammar_enforces_is_named(schema: Any, names: list[str]) -> None:
    assert [*not_enforced(schema)] == names
