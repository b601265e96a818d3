"""Whether a schema allows a value that another part of it lists: in `enum` or `const`, or as the name of a property."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from triton_repo.engine.schema.merge import (
    Object,
    Schema,
    count,
    found_in,
    is_integer,
    is_same,
    items_of,
    listed,
    rules_of,
    types_of,
)
from triton_repo.engine.schema.numbers import bound_of

Referred = Callable[[str], Schema]  # where a reference leads


def allows(schema: Schema, value: Any, referred: Referred) -> bool:
    """As far as grammars enforce the schema. Raises: ValueError: it is none."""
    try:
        return _allows(schema, value, referred)
    except RecursionError:
        raise ValueError("$ref: the references go in circles") from None


def _allows(schema: Schema, value: Any, referred: Referred) -> bool:
    if isinstance(schema, bool):
        return schema
    parts = [referred(schema["$ref"])] if "$ref" in schema else []
    return (
        _is_of(value, types_of(schema))
        and ("const" not in schema or is_same(value, schema["const"]))
        and ("enum" not in schema or any(is_same(value, each) for each in schema["enum"]))
        and all(_allows(part, value, referred) for part in [*parts, *schema.get("allOf", ())])
        and all(
            any(_allows(part, value, referred) for part in schema[keyword])
            for keyword in ("anyOf", "oneOf")
            if keyword in schema
        )
        and all(holds(schema, value, referred) for kind, holds in _CHECKS if _is_of(value, kind))
    )


def _is_of(value: Any, kinds: set[str]) -> bool:
    if isinstance(value, bool):
        return "boolean" in kinds
    if isinstance(value, int | float):
        return "number" in kinds or ("integer" in kinds and is_integer(value))
    names = {str: "string", list: "array", type(None): "null"}
    return names.get(type(value), "object") in kinds


def _number(schema: Object, value: Any, _: Referred) -> bool:
    low, open_low = bound_of(schema, "minimum", "exclusiveMinimum", max)
    high, open_high = bound_of(schema, "maximum", "exclusiveMaximum", min)
    exact = Fraction(str(value))
    above = low is None or exact > low or (exact == low and not open_low)
    below = high is None or exact < high or (exact == high and not open_high)
    step = schema.get("multipleOf")
    return above and below and (step is None or (exact / Fraction(str(step))).denominator == 1)


def _string(schema: Object, value: Any, _: Referred) -> bool:
    patterns = listed(schema.get("pattern", []))
    return _is_counted(schema, "Length", value) and all(found_in(value, pattern) for pattern in patterns)


def _array(schema: Object, value: Any, referred: Referred) -> bool:
    prefix, rest = items_of(schema)
    items = [*prefix, *[rest] * (len(value) - len(prefix))]
    return (
        _is_counted(schema, "Items", value)
        and all(_allows(item, each, referred) for item, each in zip(items, value, strict=False))
        and _contains(schema, value, referred)
    )


def _contains(schema: Object, value: Any, referred: Referred) -> bool:
    if "contains" not in schema:
        return True
    found = [each for each in value if _allows(schema["contains"], each, referred)]
    return _is_counted({"minContains": 1, **schema}, "Contains", found)


def _object(schema: Object, value: Any, referred: Referred) -> bool:
    dependents = {**schema.get("dependencies", {}), **schema.get("dependentRequired", {})}
    needed = [names for name, names in dependents.items() if name in value and isinstance(names, list)]
    return (
        _is_counted(schema, "Properties", value)
        and {*schema.get("required", ()), *(name for names in needed for name in names)} <= value.keys()
        and all(_allows(schema.get("propertyNames", True), name, referred) for name in value)
        and all(_allows(rule, value[name], referred) for name in value for rule in rules_of(name, schema))
    )


def _is_counted(schema: Object, what: str, value: Any) -> bool:
    most = count(schema, f"max{what}")
    return (count(schema, f"min{what}") or 0) <= len(value) and (most is None or len(value) <= most)


_CHECKS: Final = (({"number"}, _number), ({"string"}, _string), ({"array"}, _array), ({"object"}, _object))
