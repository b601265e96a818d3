"""Arrays: items of their own schemas, then any number of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from triton_repo.engine.schema.grammar import Grammar, NoValue
from triton_repo.engine.schema.merge import Object, Schema, count, items_of, merge

_MOST_ITEMS: Final = 4096


def array(schema: Object, grammar: Grammar, value: Callable[[Schema], str]) -> str:
    grammar.shared("ws")
    prefix, rest = items_of(schema)
    least, most = count(schema, "minItems") or 0, count(schema, "maxItems")
    least, most, prefix, rest = _with_contained(schema, least, most, prefix, rest)
    if most is not None and most < least:
        raise NoValue(f"no array has at least {least} and at most {most} items")
    if least > _MOST_ITEMS:
        raise ValueError(f"minItems = {least}: at most {_MOST_ITEMS} can be enforced")
    first = _possible_prefix(prefix[:most], value)
    if len(first) < min(len(prefix), most if most is not None else len(prefix)):
        rest = False  # an item that nothing matches ends the array before it
    item = _rule_of(rest, value)
    if len(first) < least and item is None:
        raise NoValue(f"no array has {least} items")
    return grammar.rule(_body(first, item, least, most))


def _body(first: list[str], item: str | None, least: int, most: int | None) -> str:
    """The items from last to first, each with what may follow it."""
    more = ""
    if item is not None and (most is None or most > len(first)):
        low, high = max(0, least - len(first)), "" if most is None else most - len(first)
        if first:
            more = f'("," ws {item}){{{low},{high}}}'
        else:
            high = "" if most is None else most - 1
            more = f'{item} ("," ws {item}){{{max(0, low - 1)},{high}}}'
            more = more if low else f"({more})?"
    for index in reversed(range(len(first))):
        separator = '"," ws ' if index else ""
        more = f"{separator}{first[index]} {more}"
        if index >= least:
            more = f"({more})?"
    return f'"[" ws {more} ws "]"'


def _with_contained(
    schema: Object, least: int, most: int | None, prefix: list[Schema], rest: Schema
) -> tuple[int, int | None, list[Schema], Schema]:
    """All items are of what some must be."""
    contained = schema.get("contains")
    if contained is None:
        return least, most, prefix, rest
    given, most_contained = count(schema, "minContains"), count(schema, "maxContains")
    wanted = 1 if given is None else given
    if most_contained is not None:
        most = most_contained if most is None else min(most, most_contained)
    if wanted == 0 and most_contained is None:
        return least, most, prefix, rest
    prefix = [merge(each, contained) for each in prefix]
    return max(least, wanted), most, prefix, merge(rest, contained)


def _possible_prefix(prefix: list[Schema], value: Callable[[Schema], str]) -> list[str]:
    rules: list[str] = []
    for each in prefix:
        rule = _rule_of(each, value)
        if rule is None:
            break
        rules.append(rule)
    return rules


def _rule_of(schema: Schema, value: Callable[[Schema], str]) -> str | None:
    try:
        return value(schema)
    except NoValue:
        return None
