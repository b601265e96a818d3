"""Schemas as people write them, and those that other servers are reported to get wrong, answered by the demo engine.

`python -m tests.schemas DIRECTORY` does the same for hundreds.
"""

from __future__ import annotations

import json
from typing import Any

from tests.schemas.answers import Case, answers

_STEP = {
    "type": "object",
    "properties": {"explanation": {"type": "string"}, "output": {"type": "string"}},
    "required": ["explanation", "output"],
    "additionalProperties": False,
}
_CAT = {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind"]}
_DOG = {"type": "object", "properties": {"kind": {"const": "dog"}, "tricks": {"maxItems": 2}}, "required": ["kind"]}

SCHEMAS: dict[str, Any] = {
    "anything": {},
    "any object": {"type": "object"},
    "numbers that never end": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]},
    "bounded integers and lists": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "maxLength": 12},
            "animals_seen": {"type": "integer", "minimum": 1, "maximum": 5},
            "animals": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
        },
        "required": ["location", "animals_seen", "animals"],
    },
    "references": {
        "$defs": {"Step": _STEP},
        "type": "object",
        "properties": {"steps": {"type": "array", "items": {"$ref": "#/$defs/Step"}, "maxItems": 1}},
        "required": ["steps"],
        "additionalProperties": False,
    },
    "several branches of allOf": {
        "$defs": {
            "Base": {"type": "object", "properties": {"x": {"type": "integer", "minimum": 10}}, "required": ["x"]}
        },
        "allOf": [
            {"$ref": "#/$defs/Base"},
            {"type": "object", "properties": {"y": {"type": "string", "maxLength": 4}}, "required": ["y"]},
        ],
    },
    "properties of any name, of one schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": {"type": "boolean"},
        "maxProperties": 3,
    },
    "an enum whose values begin alike": {"enum": ["sedan", "SUV", "SUVs", "sedans", "sed", "s", "ns", "dans"]},
    "an enum of everything": {"enum": ["ä", "中文", 1, 1.5, None, True, {"a": [1]}, 'a"b\\c\n']},
    "a const": {"const": {"a": None}},
    "a required property that is not described": {"type": "object", "properties": {}, "required": ["b"]},
    "optional as pydantic writes it": {
        "type": "object",
        "properties": {"a": {"anyOf": [{"type": "string", "maxLength": 5}, {"type": "null"}], "default": None}},
        "required": ["a"],
    },
    "a discriminated union": {"oneOf": [_CAT, _DOG]},
    "a tuple": {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "boolean"}],
        "items": False,
        "minItems": 2,
    },
    "a tuple of the seventh draft": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [{"type": "integer"}, {"type": "boolean"}],
        "additionalItems": False,
    },
    "a tree": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "v": {"type": "integer", "maximum": 9, "minimum": 0},
                    "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1},
                },
                "required": ["v"],
            }
        },
        "$ref": "#/$defs/node",
    },
    "patterns": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3,4}$"},
    "a pattern of some length that is not anchored": {
        "type": "string",
        "pattern": "ab|cd",
        "minLength": 4,
        "maxLength": 9,
    },
    "a pattern with quotes and backslashes": {"type": "string", "pattern": '^["\\\\/]{1,3}$'},
    "names by pattern": {
        "type": "object",
        "patternProperties": {"^x_[a-c]{1,3}$": {"type": "integer"}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 2,
    },
    "a range without an integer": {"type": "number", "exclusiveMinimum": 0.1, "maximum": 0.4},
    "an open range": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3},
    "multiples": {"type": "integer", "multipleOf": 7, "minimum": 20, "maximum": 60},
    "lengths": {"type": "string", "minLength": 3, "maxLength": 6},
    "some must be": {"type": "array", "contains": {"const": 5}, "maxItems": 3},
    "formats": {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date"},
            "at": {"type": "string", "format": "date-time"},
            "id": {"type": "string", "format": "uuid"},
            "mail": {"type": "string", "format": "email"},
        },
        "required": ["day", "at", "id", "mail"],
    },
    "what depends on another": {
        "type": "object",
        "properties": {"card": {"type": "integer"}, "address": {"type": "string", "maxLength": 4}},
        "dependentRequired": {"card": ["address"]},
    },
    "keys that need escapes": {"type": "object", "properties": {'a"b\\c': {"type": "null"}}, "required": ['a"b\\c']},
    "types": {"type": ["string", "null", "boolean"], "maxLength": 5},
    "null alone": {"type": "null"},
    "nothing but an empty list": {"type": "array", "items": False},
}


def test_every_answer_matches_its_schema() -> None:
    answered = {each.case.name: each for each in answers([Case(name, schema) for name, schema in SCHEMAS.items()])}
    assert answered.keys() == SCHEMAS.keys()
    assert {name: each.text for name, each in answered.items() if each.outcome in {"invalid", "rejected"}} == {}
    truncated = {name for name, each in answered.items() if each.outcome == "truncated"}
    # A weak model may never end what has no end.
    assert truncated <= {
        "anything",
        "any object",
        "numbers that never end",
        "references",
        "a tree",
        "a discriminated union",
    }


def test_whitespace_ends() -> None:
    for each in answers([Case(f"{number}", SCHEMAS["formats"]) for number in range(6)]):
        outside_of_strings = each.text.split('"')[::2]
        assert max(len(part) for part in outside_of_strings) < 60, each.text
        assert json.loads(each.text)
