"""Strings: of a length, of a pattern, of a format."""

from __future__ import annotations

from typing import Final

from triton_repo.engine.schema.automaton import IN_STRING, Automaton
from triton_repo.engine.schema.grammar import Grammar, NoValue
from triton_repo.engine.schema.keywords import MOST_COUNTED
from triton_repo.engine.schema.merge import Object, count
from triton_repo.engine.schema.regex import expression

_DATE: Final = (
    r"(19|20)\d\d-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"
)
_TIME: Final = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_BYTE: Final = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LABEL: Final = r"[a-z0-9](-?[a-z0-9]){0,20}"  # without two hyphens in a row, which punycode has
# Texts that are of the format; not all that are. `keywords.FORMATS` lists them.
_FORMATS: Final = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "duration": r"^P(\d{1,4}D|\d{1,4}W|T\d{1,4}[HMS]|\d{1,4}DT\d{1,4}[HMS])$",
    "email": rf"^[a-z0-9_+-]{{1,32}}(\.[a-z0-9_+-]{{1,32}})?@{_LABEL}(\.{_LABEL}){{1,3}}$",
    "hostname": rf"^{_LABEL}(\.{_LABEL}){{0,3}}$",
    "ipv4": rf"^{_BYTE}(\.{_BYTE}){{3}}$",
    "ipv6": r"^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$",
    "uuid": r"^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
}


def string(schema: Object, grammar: Grammar) -> str:
    """The rule of strings that a schema allows. A pattern wins over a format."""
    least, most = count(schema, "minLength") or 0, count(schema, "maxLength")
    if most is not None and most < least:
        raise NoValue(f"no string has at least {least} and at most {most} characters")
    least, longest = min(least, MOST_COUNTED), None if most is None or most > MOST_COUNTED else most
    given = schema.get("pattern") or _FORMATS.get(str(schema.get("format"))) or ()
    patterns = [given] if isinstance(given, str) else given
    if patterns:
        automaton = Automaton(tuple(map(expression, patterns)), IN_STRING, least, longest)
        return grammar.rule(f'"\\"" {automaton.rules(grammar)}')
    if least == 0 and longest is None:
        return grammar.shared("str")
    return grammar.rule(f'"\\"" {grammar.chain(least, longest)}')


def other_than(names: list[str], grammar: Grammar) -> str:
    """The rule of strings of plain characters that are none of the names."""
    return grammar.rule(f'"\\"" {_other(sorted(set(names)), grammar)}')


def _other(names: list[str], grammar: Grammar) -> str:
    """The rest of a string, its closing quote included, that is none of the rests `names`."""
    plain = grammar.shared("plain")
    if not names:
        return plain
    by_first: dict[str, list[str]] = {}
    for name in names:
        if name:
            by_first.setdefault(name[0], []).append(name[1:])
    excluded = "".join(f"\\U{ord(first):08x}" for first in by_first)
    bodies = [] if "" in names else ['"\\""']
    bodies.append(f'[^\\0-\\x1f\\"\\\\{excluded}] {plain}')
    for first, rests in by_first.items():
        if first.isprintable() and first not in '"\\':
            bodies.append(f"[\\U{ord(first):08x}] {_other(rests, grammar)}")
    return grammar.rule(" | ".join(bodies))
