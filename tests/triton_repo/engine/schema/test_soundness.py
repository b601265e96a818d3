"""A grammar allows nothing that its schema forbids, unless by a keyword that is named as not enforced."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.triton_repo.engine.schema.ebnf import accepts
from triton_repo.engine.schema.convert import grammar_of
from triton_repo.engine.schema.grammar import json_text
from triton_repo.engine.schema.keywords import not_enforced

_NAMES = ("a", "b", "x1")
_SCALARS = (None, False, True, 0, 1, 2, -1, 3.5, 1.0, "", "a", "ab", "x1", "\u2003")
_VALUES = st.recursive(
    st.sampled_from(_SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=3),
    max_leaves=5,
)
_COUNTS = st.integers(0, 3)
_NUMBERS = st.sampled_from([-1, 0, 1, 1.5, 2, 3])
_TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
_PATTERNS = st.sampled_from(["a", "^x", "^[ab]{1,2}$", r"\d$", r"^\S*$"])
_SOME_NAMES = st.lists(st.sampled_from(_NAMES), max_size=2, unique=True)


def _keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    schemas = st.lists(inner, min_size=1, max_size=2)
    values: dict[str, st.SearchStrategy[Any]] = {
        "type": _TYPES | st.lists(_TYPES, min_size=1, max_size=3, unique=True),
        "const": _VALUES,
        "enum": st.lists(_VALUES, min_size=1, max_size=4),
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBERS),
        "multipleOf": st.sampled_from([0.5, 1, 2]),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _COUNTS),
        **dict.fromkeys(("minContains", "maxContains"), _COUNTS),
        "pattern": _PATTERNS,
        **dict.fromkeys(("prefixItems", "allOf", "anyOf", "oneOf"), schemas),
        **dict.fromkeys(("items", "contains", "additionalProperties", "propertyNames", "not"), inner),
        **dict.fromkeys(("unevaluatedItems", "unevaluatedProperties"), inner | st.just(value=False)),
        "properties": st.dictionaries(st.sampled_from(_NAMES), inner, max_size=2),
        "patternProperties": st.dictionaries(_PATTERNS, inner, max_size=2),
        "required": _SOME_NAMES,
        "dependentRequired": st.dictionaries(st.sampled_from(_NAMES), _SOME_NAMES, max_size=2),
        "$ref": st.just("#/$defs/other"),
    }
    one = st.sampled_from([*values]).flatmap(lambda keyword: st.tuples(st.just(keyword), values[keyword]))
    return st.lists(one, max_size=4).map(dict)


_SCHEMAS = st.recursive(st.just(value=True) | st.builds(lambda kind: {"type": kind}, _TYPES), _keywords, max_leaves=8)


_OTHERS = {"type": "object", "dependentRequired": {"b": ["a"]}}
_OPEN = {"unevaluatedProperties": False}
_CLOSED = {"additionalProperties": False}
# Schemas with values that they allow, and with values that they forbid.
FOUND: list[tuple[Any, list[Any], list[Any]]] = [
    (_OTHERS, [{"a": 1}, {}], [{"b": 1}]),
    (
        {"properties": {"a": {}}, "dependentRequired": {"a": ["b"], "b": ["x1"]}},
        [{"a": 1, "b": 1, "x1": 1}],
        [{"a": 1, "b": 2}],
    ),
    ({"dependencies": {"b": ["a"]}}, [{"a": 1}], [{"b": 1}]),
    ({"allOf": [{"prefixItems": [{"minimum": 3}]}], "items": {"minimum": 5}}, [[5, 5], []], [[3, 5]]),
    ({"allOf": [{"prefixItems": [{"minimum": 3}]}, {"prefixItems": [True, {"const": 1}]}]}, [[3, 1]], [[1, 1], [3, 2]]),
    ({"allOf": [{"contains": {"const": 1}}, {"minContains": 0}]}, [[1]], [[]]),
    ({"exclusiveMaximum": 9.727837981879871e26}, [1, -5.5, "a"], [9.727837981879871e26, 1e30]),
    ({"type": "string", "pattern": r"^\S$"}, ["a"], ["\u2003", " "]),
    ({"format": "hostname"}, ["a-b.c"], ["xn--hello-txk"]),
    ({"allOf": [{"const": True}, {"enum": [1, True]}]}, [True], [1]),
    ({"enum": [1, True], "const": True}, [True], [1]),
    ({"enum": [{}, {"a": 1}, {"a": "x"}], "additionalProperties": {"type": "integer"}}, [{}, {"a": 1}], [{"a": "x"}]),
    ({"$ref": "#/$defs/any", "pattern": "^a", "$defs": {"any": {"enum": ["ab", "b"]}}}, ["ab"], ["b"]),
    (
        {"propertyNames": {"anyOf": [{"type": "null"}, {"const": "b"}]}, "properties": {"a": {}, "b": {}}},
        [{"b": 1}],
        [{"a": 1}],
    ),
    ({"enum": [[1], [2]], "items": {"multipleOf": 2}, "minItems": 1}, [[2]], [[1]]),
    ({"prefixItems": [{"type": "string"}], "unevaluatedItems": False}, [["a"]], [["a", "b"]]),
    ({"allOf": [{"properties": {"a": True}}, _OPEN]}, [{}], [{"a": 1}]),
    ({"properties": {"a": True}, "allOf": [{"properties": {"b": True}}], **_OPEN}, [{"a": 1, "b": 1}], [{"x1": 1}]),
    ({"anyOf": [{"properties": {"a": True}, **_OPEN}], "properties": {"b": True}}, [{"a": 1}], [{"b": 1}]),
    (
        {"allOf": [{"additionalProperties": False, "patternProperties": {"^x": True}}, {"properties": {"a": True}}]},
        [{}],
        [{"a": 1}],
    ),
    ({"allOf": [{"patternProperties": {"^x": {}}}, {"additionalProperties": False}]}, [{}], [{"x1": 1}]),
    (
        {"allOf": [{"properties": {"x1": {}, "y": {}}, **_CLOSED}, {"patternProperties": {"^x": {"type": "null"}}}]},
        [{"x1": None, "y": 1}],
        [{"x1": 1}, {"x2": None}],
    ),
    ({"enum": ["3", "\u0663"], "pattern": "^\\d$"}, ["3"], ["\u0663"]),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), FOUND)
def test_what_was_allowed_although_a_schema_forbids_it_is_no_longer(
    schema: Any, valid: list[Any], invalid: list[Any]
) -> None:
    grammar = grammar_of(schema)
    assert not [*not_enforced(schema)]
    assert [accepts(grammar, json_text(value)) for value in valid] == [True] * len(valid)
    assert [accepts(grammar, json_text(value)) for value in invalid] == [False] * len(invalid)


@pytest.mark.parametrize("schema", [{"dependencies": {"a": {"required": ["b"]}}}, {"if": False, "else": False}])
def test_what_only_a_check_of_the_answer_enforces_is_named(schema: Any) -> None:
    assert [*not_enforced(schema)]


def test_values_of_an_enum_whose_schema_refers_to_itself_are_rejected() -> None:
    with pytest.raises(ValueError, match="go in circles"):
        grammar_of({"enum": [[1]], "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"$ref": "#/$defs/a"}}})


@given(_SCHEMAS, _SCHEMAS, st.lists(_VALUES, min_size=1, max_size=6))
@settings(max_examples=150, suppress_health_check=[*HealthCheck])
def test_what_a_grammar_allows_its_schema_does(schema: Any, other: Any, values: list[Any]) -> None:
    if isinstance(schema, dict):
        schema = {"$defs": {"other": other}, **schema}
    _check(schema, values)


def _check(schema: Any, values: list[Any]) -> None:
    try:
        judge = jsonschema_rs.validator_for(schema)
        grammar = grammar_of(schema)
    except (ValueError, jsonschema_rs.ReferencingError):
        return
    if any(not_enforced(schema)):
        return
    for value in values:
        allowed = accepts(grammar, json_text(value))
        assert judge.is_valid(value) or not allowed, (schema, value)
