"""Whether a text is of a grammar, by a recognizer that is slow and has nothing in common with an engine's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\{\d+,\d*\}|\{\d+\}|[a-z]\w*|[()|?*+]')
_CHARACTER: Final = re.compile(r"\\U([0-9a-f]{8})|\\x([0-9a-f]{2})|\\(.)|(.)", re.DOTALL)
_ESCAPED: Final = {"0": "\0", "n": "\n", "r": "\r", "t": "\t"}

Matcher = Callable[[str, int], frozenset[int]]  # where what matches from a place on may end


def accepts(grammar: str, text: str) -> bool:
    """Whether all of `text` is of the rule `root`."""
    return len(text) in _Rules(grammar).ends("root", text, 0)


class _Rules:
    """Where the text of a rule may end; of a rule that begins with itself only what the others of its parts match."""

    def __init__(self, grammar: str) -> None:
        self._bodies = dict(line.split(" ::= ", 1) for line in grammar.splitlines())
        self._matchers: dict[str, Matcher] = {}
        self._ends: dict[tuple[str, int], frozenset[int]] = {}

    def ends(self, rule: str, text: str, at: int) -> frozenset[int]:
        if (rule, at) not in self._ends:
            self._ends[rule, at] = frozenset()
            if rule not in self._matchers:
                self._matchers[rule] = _Body(self._bodies[rule], self).read()
            self._ends[rule, at] = self._matchers[rule](text, at)
        return self._ends[rule, at]


class _Body:
    """Reads the body of a rule."""

    def __init__(self, body: str, rules: _Rules) -> None:
        self._tokens = _TOKEN.findall(body)
        self._at = 0
        self._rules = rules

    def read(self) -> Matcher:
        choices = [self._sequence()]
        while self._takes("|"):
            choices.append(self._sequence())
        return lambda text, at: _union(choice(text, at) for choice in choices)

    def _sequence(self) -> Matcher:
        parts: list[Matcher] = []
        while self._next not in ("", "|", ")"):
            parts.append(self._repeated(self._part()))

        def match(text: str, at: int) -> frozenset[int]:
            places = frozenset([at])
            for part in parts:
                places = _union(part(text, place) for place in places)
            return places

        return match

    def _part(self) -> Matcher:
        token = self._take()
        if token == "(":
            group = self.read()
            assert self._take() == ")"
            return group
        if token[0] == '"':
            said = "".join(character for character, _ in _characters(token[1:-1]))
            return lambda text, at: frozenset([at + len(said)] if text.startswith(said, at) else [])
        if token[0] == "[":
            return _class(token[1:-1])
        return lambda text, at: self._rules.ends(token, text, at)

    def _repeated(self, part: Matcher) -> Matcher:
        token = self._next
        if not token or token[0] not in "?*+{":
            return part
        self._take()
        low, _, high = {"?": "0,1", "*": "0,", "+": "1,"}.get(token, token.strip("{}")).partition(",")
        least, most = int(low), int(high) if high else None if "," in token or token in "*+" else int(low)

        def match(text: str, at: int) -> frozenset[int]:
            places, found, count = frozenset([at]), frozenset[int](), 0
            while places - found and (most is None or count <= most):
                if count >= least:
                    found |= places
                places = _union(part(text, place) for place in places)
                count += 1
            return found

        return match

    @property
    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        self._at += 1
        return str(self._tokens[self._at - 1])

    def _takes(self, token: str) -> bool:
        if self._next != token:
            return False
        self._at += 1
        return True


def _union(places: Iterable[frozenset[int]]) -> frozenset[int]:
    return frozenset().union(*places)


def _characters(text: str) -> Iterator[tuple[str, bool]]:
    """Each, and whether it was escaped."""
    for code, short, letter, plain in _CHARACTER.findall(text):
        yield (chr(int(code or short, 16)) if code or short else _ESCAPED.get(letter, letter) or plain), not plain


def _class(body: str) -> Matcher:
    negated = body.startswith("^")
    items = [*_characters(body[negated:])]
    ranges: list[tuple[str, str]] = []
    while items:
        low, _ = items.pop(0)
        if len(items) > 1 and items[0] == ("-", False):
            items.pop(0)
            ranges.append((low, items.pop(0)[0]))
        else:
            ranges.append((low, low))

    def match(text: str, at: int) -> frozenset[int]:
        inside = at < len(text) and any(low <= text[at] <= high for low, high in ranges) != negated
        return frozenset([at + 1] if inside else [])

    return match
