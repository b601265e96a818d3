"""One schema that allows what two allow, and the references that lead to others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from triton_repo.engine.schema.grammar import NoValue

Schema = Mapping[str, Any] | bool
Object = Mapping[str, Any]

_MOST_ALTERNATIVES: Final = 64
_TYPES: Final = ("null", "boolean", "object", "array", "number", "string", "integer")
_NOT_MERGED: Final = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "$ref",
        "additionalItems",
        "contains",
        "dependencies",
        "dependentRequired",
        "format",
        "maxContains",
        "minContains",
        "multipleOf",
        "patternProperties",
        "propertyNames",
    }
)
# Keywords that say nothing of what is allowed.
_NOTES: Final = frozenset(
    {"$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "title", "description", "default", "examples"}
)


def types_of(schema: Object) -> set[str]:
    """`number` has all integers. Raises: ValueError: one of them is no type."""
    given = schema.get("type", _TYPES)
    types = {given} if isinstance(given, str) else {*given}
    if strange := types - {*_TYPES}:
        raise ValueError(f"type {sorted(map(str, strange))[0]!r}: must be one of {', '.join(_TYPES)}")
    return types - {"integer"} if "number" in types else types


def count(schema: Object, keyword: str) -> int | None:
    """Drafts allow 2.0 for 2. Raises: ValueError: it is no number of anything."""
    if keyword not in schema:
        return None
    value = schema[keyword]
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or not is_integer(value):
        raise ValueError(f"{keyword} = {value!r}: must be an integer ≥ 0")
    return int(value)


def is_integer(value: float) -> bool:
    """As JSON schemas take it: 2.0 is one."""
    return isinstance(value, int) or value.is_integer()


def resolve(root: Schema, reference: str) -> Schema:
    """What a reference within the schema leads to.

    Raises:
        ValueError: it leads elsewhere, or nowhere.
    """
    if not reference.startswith("#"):
        raise ValueError(f"$ref {reference!r}: only references within the schema are followed")
    found: Any = root
    fragment = unquote(reference[1:])
    if fragment and not fragment.startswith("/"):
        return _anchored(root, fragment)
    for part in fragment.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ValueError(f"$ref {reference!r} leads to nothing") from None
    if not isinstance(found, Mapping | bool):
        raise ValueError(f"$ref {reference!r} leads to no schema")  # noqa: TRY004 - all that is wrong with a schema
    return found


def merge(left: Schema, right: Schema) -> Schema:
    """
    Raises:
        NoValue: nothing is allowed by both.
        ValueError: a grammar cannot express both.
    """
    if left is False or right is False:
        raise NoValue("false allows nothing")
    if left is True or left == right:
        return right
    if right is True:
        return left
    merged = dict(left)
    for keyword, value in right.items():
        if keyword not in merged:
            merged[keyword] = value
        elif merged[keyword] != value and keyword not in _NOTES:
            merged[keyword] = _both(keyword, merged[keyword], value)
    return _closed(left, right, merged) if {"properties", "additionalProperties"} & merged.keys() else merged


def _both(keyword: str, left: Any, right: Any) -> Any:
    if keyword in _MERGERS:
        return _MERGERS[keyword](left, right)
    if keyword in _NOT_MERGED:
        raise ValueError(f"allOf with two of {keyword}, which cannot be enforced")
    return left  # a note, or what no grammar enforces


def _closed(left: Object, right: Object, merged: dict[str, Any]) -> Object:
    """Each side's `additionalProperties` is for the properties that this side does not name."""
    properties = dict(merged.get("properties", {}))
    for one, other in ((left, right), (right, left)):
        rest = one.get("additionalProperties", True)
        for name in other.get("properties", {}):
            if name not in one.get("properties", {}) and rest is not True and not one.get("patternProperties"):
                properties[name] = _or_false(properties[name], rest)
    return {**merged, "properties": properties} if properties else merged


def _or_false(left: Schema, right: Schema) -> Schema:
    try:
        return merge(left, right)
    except NoValue:
        return False


def _types(left: Any, right: Any) -> list[str]:
    one, other = types_of({"type": left}), types_of({"type": right})
    both = one & other
    if ("number" in one and "integer" in other) or ("number" in other and "integer" in one):
        both.add("integer")
    if not both:
        raise NoValue("no type is allowed by both")
    return sorted(both)


def _common(left: list[Any], right: list[Any]) -> list[Any]:
    there = {json.dumps(value, sort_keys=True) for value in right}
    return [value for value in left if json.dumps(value, sort_keys=True) in there]


def _same(left: Any, right: Any) -> Any:
    raise NoValue(f"nothing is {left!r} and {right!r}")


def _properties(left: Object, right: Object) -> Object:
    names = {**left, **right}
    return {name: _or_false(left.get(name, True), right.get(name, True)) for name in names}


def _product(left: list[Schema], right: list[Schema]) -> list[Schema]:
    if len(left) * len(right) > _MOST_ALTERNATIVES:
        raise ValueError(f"allOf of more than {_MOST_ALTERNATIVES} alternatives, which cannot be enforced")
    merged = [_or_false(one, other) for one in left for other in right]
    return [schema for schema in merged if schema is not False]


def _prefix(left: list[Schema], right: list[Schema]) -> list[Schema]:
    if len(left) != len(right):
        raise ValueError("allOf with two of prefixItems, which cannot be enforced")
    return [_or_false(one, other) for one, other in zip(left, right, strict=True)]


_MERGERS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "type": _types,
    "enum": _common,
    "const": _same,
    "required": lambda left, right: [*dict.fromkeys([*left, *right])],
    "properties": _properties,
    "additionalProperties": _or_false,
    "items": lambda left, right: _or_false(left, right) if not isinstance(left, list) else _prefix(left, right),
    "prefixItems": _prefix,
    "anyOf": _product,
    "oneOf": _product,
    "pattern": lambda left, right: [*listed(left), *listed(right)],
    "allOf": lambda left, right: [*left, *right],
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _anchored(root: Any, name: str) -> Schema:
    waiting = [root]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Mapping):
            if found.get("$anchor") == name:
                return found
            waiting += [value for keyword, value in found.items() if keyword not in ("enum", "const")]
        elif isinstance(found, list):
            waiting += found
    raise ValueError(f"$ref '#{name}' leads to nothing")
