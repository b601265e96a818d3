"""Which keywords of a JSON schema no grammar enforces: an answer is checked for them once it is complete.

`triton_repo.engine.schema` makes the grammar, and of everything else that it takes makes one that allows nothing that
the schema forbids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

# Characters of a string that are counted: for each the grammar has a rule, for which XGrammar reads the whole
# vocabulary, 10 ms where it has 50,000 tokens.
MOST_COUNTED: Final = 128
NOT_ENFORCED: Final = frozenset(
    {
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "dependentSchemas",
        "else",
        "if",
        "not",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
FORMATS: Final = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"}
)  # those that a grammar enforces
_ENFORCED_IF_FALSE: Final = frozenset({"not", "unevaluatedItems", "unevaluatedProperties", "uniqueItems"})
# Those that stand beside another one, which wins.
_NOT_BESIDE: Final = {
    "allOf": ("oneOf",),
    "pattern": ("format",),
}
_LENGTHS: Final = ("minLength", "maxLength")
_SCHEMA: Final = ("additionalItems", "additionalProperties", "contains", "items", "propertyNames")
_SCHEMAS: Final = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED: Final = ("$defs", "definitions", "patternProperties", "properties")


def not_enforced(schema: Any, path: str = "") -> Iterator[str]:
    """Where a schema says what no grammar enforces, as `properties.a.not`."""
    if not isinstance(schema, Mapping):
        return
    for keyword, value in schema.items():
        too_long = keyword in _LENGTHS and isinstance(value, int | float) and value > MOST_COUNTED
        strange = keyword == "format" and value not in FORMATS
        nothing = value is False and keyword in _ENFORCED_IF_FALSE
        by_schema = keyword == "dependencies" and not all(isinstance(names, list) for names in _values(value))
        if too_long or strange or by_schema or (keyword in NOT_ENFORCED and not nothing):
            yield f"{path}{keyword}"
    for keyword, beside in _NOT_BESIDE.items():
        yield from (f"{path}{name}" for name in beside if keyword in schema and name in schema)
    if "oneOf" in schema and not _differ(schema["oneOf"]):
        yield f"{path}oneOf"
    yield from _inner(schema, path)


def _inner(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for keyword in _SCHEMA:
        yield from not_enforced(schema.get(keyword), f"{path}{keyword}.")
    for keyword in _SCHEMAS:
        parts = schema.get(keyword)
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            yield from not_enforced(part, f"{path}{keyword}.{index}.")
    for keyword in _NAMED:
        named = schema.get(keyword)
        for name, part in named.items() if isinstance(named, Mapping) else ():
            yield from not_enforced(part, f"{path}{keyword}.{name}.")


def _values(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else ()


def _differ(parts: Any) -> bool:
    """Whether no value can match two of the parts of a `oneOf`: by their types, or by what one property must be."""
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        return False
    types = [part.get("type") for part in parts]
    if (
        all(isinstance(kind, str) for kind in types)
        and len({*types}) == len(types)
        and not {"integer", "number"} <= {*types}
    ):
        return True
    tags = [{(name, str(_tag(rule))) for name, rule in _required(part)} for part in parts]
    names = set.intersection(*({name for name, _ in tag} for tag in tags)) if tags else set()
    return any(len({value for tag in tags for key, value in tag if key == name}) == len(parts) for name in names)


def _required(part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    properties = part.get("properties")
    for name in part.get("required") or ():
        rule = properties.get(name) if isinstance(properties, Mapping) else None
        if isinstance(rule, Mapping) and _tag(rule) is not None:
            yield str(name), rule


def _tag(rule: Mapping[str, Any]) -> Any:
    values = rule.get("enum", [None])
    return rule.get("const", values[0] if isinstance(values, list) and len(values) == 1 else None)
