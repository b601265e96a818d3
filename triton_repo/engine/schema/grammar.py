"""Rules of an EBNF grammar (XGrammar's dialect of GBNF) for JSON text, and those that all schemas share.

Whitespace is bounded, unlike in JSON: a model that has nothing to say would go on with it until its tokens run out. It
is a blank, or a new line with an indentation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

_DEEPEST_ANY: Final = 5  # levels of a value that may be anything: few models ever come out of more
_BODIES: Final = {
    "ws": '"" | " " | "\\n" [ \\t]{0,24}',
    "hex": "[0-9A-Fa-f]",
    # No half of a surrogate pair: readers of JSON reject one alone.
    "esc": '["\\\\/bfnrt] | "u" ([0-9A-CE-Fa-ce-f] hex hex hex | [Dd] [0-7] hex hex)',
    "chars": '"\\"" | [^\\0-\\x1f\\"\\\\] chars | "\\\\" esc chars',
    "plain": '"\\"" | [^\\0-\\x1f\\"\\\\] plain',
    "str": '"\\"" chars',
    "int": '"-"? [1-9] [0-9]{0,14} | "0"',
    "num": '"-"? ("0" | [1-9] [0-9]{0,14}) ("." [0-9]{1,15})? ([eE] [+-]? [1-9] [0-9]?)?',
}
LARGEST: Final = 10**114  # which no number of `num` reaches
_NEEDS: Final = {"esc": ("hex",), "chars": ("esc",), "str": ("chars",)}


class NoValue(ValueError):
    """No JSON matches this part of a schema."""


class Grammar:
    """Collects rules. Parts of a rule's body are EBNF text; each can be used wherever an element can."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        self._named: dict[str, str] = {}

    def text(self, root: str) -> str:
        return "".join(f"{name} ::= {body}\n" for name, body in [("root", root), *self._rules.items()])

    def shared(self, name: str) -> str:
        """One of the rules that all schemas share."""
        if name not in self._rules:
            self._rules[name] = _BODIES[name]
            for needed in _NEEDS.get(name, ()):
                self.shared(needed)
        return name

    def rule(self, body: str) -> str:
        """The name of a rule with this body."""
        if body not in self._named:
            self._named[body] = self.new_rule(body)
        return self._named[body]

    def new_rule(self, body: str = "") -> str:
        """The name of one more rule; its body may come later, with `define`."""
        name = f"r{len(self._rules)}"
        self._rules[name] = body
        return name

    def define(self, name: str, body: str) -> None:
        self._rules[name] = body

    def forget(self, name: str) -> None:
        """A rule that has come to nothing, and that no other one names."""
        self._rules[name] = '""'

    def chain(self, least: int, most: int | None) -> str:
        """The rest of a string, its closing quote included, of at least and at most so many characters."""
        if most is None and least == 0:
            return self.shared("chars")
        rest = self.shared("chars")
        if most is not None:
            rest = self.rule('"\\""')
            for count in range(1, most - least + 1):
                rest = self._one_more(rest, may_end=True) if count else rest
        for _ in range(least):
            rest = self._one_more(rest, may_end=False)
        return rest

    def _one_more(self, rest: str, *, may_end: bool) -> str:
        self.shared("esc")
        end = '"\\"" | ' if may_end else ""
        return self.rule(f'{end}[^\\0-\\x1f\\"\\\\] {rest} | "\\\\" esc {rest}')

    def any_value(self, depth: int = _DEEPEST_ANY) -> str:
        scalars = [self.shared("str"), self.shared("num"), '"true"', '"false"', '"null"']
        if depth == 0:
            return self.rule(alternatives(scalars))
        inner = self.any_value(depth - 1)
        return self.rule(alternatives([*scalars, self.any_object(inner), self.any_array(inner)]))

    def any_object(self, value: str | None = None) -> str:
        member = self.rule(f'{self.shared("str")} ":" {self.shared("ws")} {value or self.any_value()}')
        return self.rule(f'"{{" ws ({member} ("," ws {member})* ws)? "}}"')

    def any_array(self, value: str | None = None) -> str:
        self.shared("ws")
        item = value or self.any_value()
        return self.rule(f'"[" ws ({item} ("," ws {item})* ws)? "]"')


def literal(text: str) -> str:
    """EBNF for exactly this text.

    Raises:
        ValueError: it has half a surrogate pair, which is no character.
    """
    text.encode()
    return '"' + "".join(map(_escaped, text)) + '"'


def json_text(value: Any) -> str:
    """Raises: ValueError: a value that JSON has not."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_literal(value: Any) -> str:
    """EBNF for the JSON of a value."""
    return literal(json_text(value))


def alternatives(bodies: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(bodies))


def possible(makers: Iterable[Callable[[], str]]) -> list[str]:
    """The bodies of those that match something."""
    bodies = []
    for make in makers:
        try:
            bodies.append(make())
        except NoValue:
            continue
    return bodies


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() and ord(character) < 0x7F else f"\\U{ord(character):08x}"
