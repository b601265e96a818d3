"""One schema that allows what two allow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, Final

from triton_repo.engine.schema.grammar import NoValue

Schema = Mapping[str, Any] | bool
Object = Mapping[str, Any]

_MOST_ALTERNATIVES: Final = 64
_ITEMS: Final = {"additionalItems", "items", "prefixItems"}
_UNEVALUATED: Final = {"unevaluatedItems", "unevaluatedProperties"}
_MEMBERS: Final = {"additionalProperties", "patternProperties", "properties"}
_TYPES: Final = ("null", "boolean", "object", "array", "number", "string", "integer")
_NOT_MERGED: Final = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "$ref",
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
NOTES: Final = frozenset(
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


def merge(left: Schema, right: Schema) -> Schema:
    """
    Raises:
        NoValue: nothing is allowed by both.
        ValueError: a grammar cannot express both.
    """
    if left is False or right is False:
        raise NoValue("false allows nothing")
    if left is True or is_same(left, right):
        return right
    if right is True:
        return left
    left, right = _of_its_own(left), _of_its_own(right)
    merged = dict(left)
    for keyword, value in right.items():
        if keyword not in merged:
            merged[keyword] = value
        elif keyword not in _ITEMS and keyword not in NOTES and not is_same(merged[keyword], value):
            merged[keyword] = _both(keyword, merged[keyword], value)
    if _ITEMS & left.keys() and _ITEMS & right.keys():
        merged = {key: value for key, value in merged.items() if key not in _ITEMS} | _items(left, right)
    return _closed(left, right, merged) if _MEMBERS & merged.keys() else merged


def is_same(left: Any, right: Any) -> bool:
    """Of JSON: to Python `true` is 1."""
    return left == right and json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def _both(keyword: str, left: Any, right: Any) -> Any:
    if keyword in _MERGERS:
        return _MERGERS[keyword](left, right)
    if keyword in _NOT_MERGED:
        raise ValueError(f"allOf with two of {keyword}, which cannot be enforced")
    return left  # a note, or what no grammar enforces


def _of_its_own(schema: Object) -> Object:
    """Without what is said of items that this schema does not look for."""
    if "contains" in schema:
        return schema
    return {keyword: value for keyword, value in schema.items() if keyword not in ("minContains", "maxContains")}


def _closed(left: Object, right: Object, merged: dict[str, Any]) -> Object:
    """Each side's `additionalProperties` is for the properties that this side does not name."""
    properties, by_pattern = dict(merged.get("properties", {})), dict(merged.get("patternProperties", {}))
    for one, other in ((left, right), (right, left)):
        named, patterns = one.get("properties", {}), one.get("patternProperties", {})
        rest = one.get("additionalProperties", True)
        if rest is True:
            continue
        for name in other.get("properties", {}):
            if name not in named and not any(found_in(name, pattern) for pattern in patterns):
                properties[name] = _or_false(properties[name], rest)
        for pattern in other.get("patternProperties", {}):
            if pattern in patterns:
                continue
            if rest is not False or patterns:
                by_pattern[pattern] = _or_false(by_pattern[pattern], rest)
                continue
            rule = by_pattern.pop(pattern)  # only names that this side knows are left, and they need no pattern
            for name in (each for each in named if found_in(each, pattern)):
                properties[name] = _or_false(properties[name], rule)
    closed = {"properties": properties, "patternProperties": by_pattern}
    open_ = {keyword: value for keyword, value in merged.items() if keyword not in closed}
    return open_ | {keyword: rules for keyword, rules in closed.items() if rules}


def found_in(name: str, pattern: str) -> bool:
    """Raises: ValueError: it is no pattern."""
    try:
        return re.search(pattern, name, re.ASCII) is not None  # as ECMAScript reads \d and \w
    except re.error as error:
        raise ValueError(f"pattern {pattern[:40]!r}: {error}") from None


def rules_of(name: str, schema: Object) -> Iterator[Schema]:
    """All that is said of a property of this name."""
    said = [schema["properties"][name]] if name in schema.get("properties", {}) else []
    said += [rule for pattern, rule in schema.get("patternProperties", {}).items() if found_in(name, pattern)]
    yield from said or [schema.get("additionalProperties", True)]


def sealed(schema: Schema) -> Schema:
    """A schema with which nothing more is merged: what it says of `unevaluated…` is of all that it does not name."""
    return schema if isinstance(schema, bool) else sealed_object(schema)


def sealed_object(schema: Object) -> Object:
    if not _UNEVALUATED & schema.keys():
        return schema
    closed = {keyword: value for keyword, value in schema.items() if keyword not in _UNEVALUATED}
    if "unevaluatedProperties" in schema:
        closed.setdefault("additionalProperties", schema["unevaluatedProperties"])
    if "unevaluatedItems" in schema:
        keyword = "additionalItems" if isinstance(schema.get("items"), list) else "items"
        closed.setdefault(keyword, schema["unevaluatedItems"])
    return closed


def items_of(schema: Object) -> tuple[list[Schema], Schema]:
    """The schemas of the first items, and that of all others, in the words of all drafts."""
    items = schema.get("items", True)
    if isinstance(items, list):
        return items, schema.get("additionalItems", True)
    return list(schema.get("prefixItems", ())), items


def _items(left: Object, right: Object) -> dict[str, Any]:
    """Each side's schema of all others is also for those of the first items that only the other side has."""
    (one, one_rest), (other, other_rest) = items_of(left), items_of(right)
    pairs = zip_longest(one, other)
    prefix = [
        _or_false(one_rest if mine is None else mine, other_rest if theirs is None else theirs)
        for mine, theirs in pairs
    ]
    rest = _or_false(one_rest, other_rest)
    return {"prefixItems": prefix} if rest is True else {"prefixItems": prefix, "items": rest}


def _or_false(left: Schema, right: Schema) -> Schema:
    """One schema that allows what two allow that see nothing of each other; `merge` with False for nothing."""
    if left is True or right is True:
        return right if left is True else left
    try:
        return merge(sealed(left), sealed(right))
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


_MERGERS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "type": _types,
    "enum": _common,
    "const": _same,
    "required": lambda left, right: [*dict.fromkeys([*left, *right])],
    "properties": _properties,
    "additionalProperties": _or_false,
    "anyOf": _product,
    "oneOf": _product,
    "pattern": lambda left, right: [*listed(left), *listed(right)],
    "allOf": lambda left, right: [*left, *right],
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
