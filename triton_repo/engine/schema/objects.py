"""Objects: their properties in the order of the schema, then any others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_repo.engine.schema.grammar import Grammar, NoValue, json_literal
from triton_repo.engine.schema.merge import Object, Schema, count, merge, rules_of
from triton_repo.engine.schema.strings import other_than, string

Value = Callable[[Schema], str]  # the rule of what a schema allows; raises NoValue
Allows = Callable[[Schema, Any], bool]  # whether it allows a value


@dataclass
class _Properties:
    """Those that may be there, each with the rule of its value, and which must be; then those of other names."""

    rules: dict[str, str] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    others: str | None = None  # the rule of one more of any other name


def object_(schema: Object, grammar: Grammar, value: Value, allows: Allows) -> str:
    grammar.shared("ws")
    properties = _properties(schema, grammar, value, allows)
    least, most = count(schema, "minProperties") or 0, count(schema, "maxProperties")
    _keep_within(properties, least, most)
    names = list(properties.rules)
    if not names:
        return grammar.rule(_map(properties.others, least, most))
    rest, first = _after_last(properties.others, grammar)
    for name in reversed(names):
        member = grammar.rule(f'{json_literal(name)} ":" ws {properties.rules[name]}')
        with_it, without = f'"," ws {member} {rest}', rest
        begun = f"{member} {rest}"
        is_required = name in properties.required
        rest, first = (
            grammar.rule(with_it if is_required else f"{with_it} | {without}"),
            grammar.rule(begun if is_required or first is None else f"{begun} | {first}"),
        )
    # In brackets, not as another alternative that begins alike, see `automaton`.
    members = f"{first} ws" if properties.required else f"({first} ws)?"
    return grammar.rule(f'"{{" ws {members} "}}"')


def _properties(schema: Object, grammar: Grammar, value: Value, allows: Allows) -> _Properties:
    found = _Properties()
    required = _required(schema)
    for name in dict.fromkeys([*schema.get("properties", {}), *sorted(required)]):
        try:
            found.rules[name] = value(_schema_of(name, schema, allows))
        except NoValue:
            if name in required:
                raise
    found.required = required
    if not found.rules or schema.get("additionalProperties", False) is not False:
        named = {*schema.get("properties", {}), *found.rules, *_dependents(schema)}
        found.others = _others(schema, list(named), grammar, value)
    return found


def _required(schema: Object) -> set[str]:
    """The names that must be there, with those that must be where a property of the schema is: they always are."""
    required, dependents = set(schema.get("required", ())), _dependents(schema)
    waiting = [*schema.get("properties", {}), *required]
    while waiting:
        needed = dependents.get(waiting.pop(), set()) - required
        required |= needed
        waiting += needed
    return required


def _dependents(schema: Object) -> dict[str, set[str]]:
    """Names that must be there where others are. Of those others, none that no property is called is ever there."""
    given: dict[str, Any] = {**schema.get("dependencies", {}), **schema.get("dependentRequired", {})}
    return {name: {*names} for name, names in given.items() if isinstance(names, list) and names}


def _schema_of(name: str, schema: Object, allows: Allows) -> Schema:
    """All that is said of a property of this name."""
    if not allows(schema.get("propertyNames", True), name):
        raise NoValue(f"no property is called {name}")
    merged: Schema = True
    for each in rules_of(name, schema):
        merged = merge(merged, each)
    return merged


def _others(schema: Object, names: list[str], grammar: Grammar, value: Value) -> str | None:
    """The rule of one more property, of a name that is not among `names`; None where there can be none.

    With several patterns of names there are none: each name would have to be tried on all of them.
    """
    patterns: Mapping[str, Schema] = schema.get("patternProperties", {})
    of_name, rest = schema.get("propertyNames", True), schema.get("additionalProperties", True)
    plain = not patterns and of_name is True
    if not plain and (names or len(patterns) > 1 or (patterns and of_name is not True)):
        return None
    try:
        if plain:
            key = other_than(names, grammar) if names else grammar.shared("str")
        elif patterns:
            [(pattern, rest)] = patterns.items()
            key = string({"pattern": pattern}, grammar)
        else:
            key = value(merge({"type": "string"}, of_name))
        return grammar.rule(f'{key} ":" ws {value(rest)}')
    except NoValue:
        return None


def _keep_within(properties: _Properties, least: int, most: int | None) -> None:
    """Make optional ones required, or leave them out, until their number is right.

    Raises:
        NoValue: it cannot be.
    """
    optional = [name for name in properties.rules if name not in properties.required]
    if most is not None and len(properties.rules) > most:
        for name in optional[max(0, most - len(properties.required)) :]:
            del properties.rules[name]
        if len(properties.rules) > most:
            raise NoValue(f"more than {most} properties are required")
    if most is not None and properties.rules:
        properties.others = None
    if properties.rules and len(properties.required) < least:
        properties.required |= set(optional[: least - len(properties.required)])
        if len(properties.required) < least and properties.others is None:
            raise NoValue(f"there are fewer than {least} properties")


def _map(others: str | None, least: int, most: int | None) -> str:
    if others is None or most == 0:
        if least:
            raise NoValue(f"there are fewer than {least} properties")
        return '"{" ws "}"'
    more = f'("," ws {others}){{{max(0, least - 1)},{"" if most is None else most - 1}}}'
    members = f"{others} {more} ws" if least else f"({others} {more} ws)?"
    return f'"{{" ws {members} "}}"'


def _after_last(others: str | None, grammar: Grammar) -> tuple[str, str | None]:
    """What may follow the last property, and what may stand in place of all; None where nothing may."""
    if others is None:
        return grammar.rule('""'), None
    more = grammar.rule(f'("," ws {others})*')
    return more, grammar.rule(f"{others} {more}")
