"""Regular expressions of schemas (ECMA-262, as far as grammars have it), read.

A pattern of a schema matches anywhere in a string unless it is anchored. Lookaround, backreferences, word boundaries
and Unicode properties are rejected by name.
"""

from __future__ import annotations

from typing import Final

from triton_repo.engine.schema.automaton import LAST, Chars, Choice, Node, Ranges, Repeat, Sequence, complement

_MOST_REPETITIONS: Final = 1000
_DIGIT: Final[Ranges] = ((0x30, 0x39),)
_WORD: Final[Ranges] = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Final[Ranges] = (
    *((0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029)),
    *((0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
_CLASSES: Final = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS: Final = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0}
_LINE_ENDS: Final[Ranges] = ((10, 10), (13, 13), (0x2028, 0x2029))
_ANYTHING: Final = Repeat(Chars(((0, LAST),)), 0, None)


def expression(pattern: str, *, whole: bool = False) -> Node:
    """The texts that match; `whole`: from their beginning to their end, anchored or not.

    Raises:
        ValueError: it is no such expression, or has what a grammar cannot express.
    """
    return _Parser(pattern, whole=whole).read()


class _Parser:
    def __init__(self, pattern: str, *, whole: bool) -> None:
        self._pattern = pattern
        self._whole = whole
        self._at = 0

    def read(self) -> Node:
        choices = []
        while True:
            before = () if self._takes("^") or self._whole else (_ANYTHING,)
            parts, ends = self._sequence(top=True)
            choices.append(Sequence((*before, *parts, *(() if ends or self._whole else (_ANYTHING,)))))
            if not self._takes("|"):
                break
        if self._at < len(self._pattern):
            raise self._error("a parenthesis that was not opened")
        return Choice(tuple(choices))

    def _alternatives(self) -> Node:
        choices = [Sequence(self._sequence(top=False)[0])]
        while self._takes("|"):
            choices.append(Sequence(self._sequence(top=False)[0]))
        return Choice(tuple(choices))

    def _sequence(self, *, top: bool) -> tuple[tuple[Node, ...], bool]:
        """A sequence, and whether it ends with `$`."""
        parts: list[Node] = []
        while self._at < len(self._pattern) and self._next not in "|)":
            if top and self._next == "$" and self._pattern[self._at + 1 : self._at + 2] in ("", "|"):
                self._at += 1
                return tuple(parts), True
            parts.append(self._quantified(self._atom()))
        return tuple(parts), False

    def _atom(self) -> Node:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return Chars(self._class())
        if character == ".":
            return Chars(complement(_LINE_ENDS))
        if character == "\\":
            return Chars(self._escape())
        if character in "^$":
            raise self._error("an anchor in the middle")
        if character in "*+?":
            raise self._error("a repetition of nothing")
        return Chars(((ord(character), ord(character)),))

    def _group(self) -> Node:
        if self._takes("?"):
            kind = self._take()
            if kind == "<" and self._next not in "=!":
                while self._take() != ">":
                    pass
            elif kind != ":":
                raise self._error("lookaround")
        body = self._alternatives()
        if not self._takes(")"):
            raise self._error("a parenthesis that is not closed")
        return body

    def _quantified(self, atom: Node) -> Node:
        bounds: tuple[int, int | None] | None = None
        if self._takes("*"):
            bounds = (0, None)
        elif self._takes("+"):
            bounds = (1, None)
        elif self._takes("?"):
            bounds = (0, 1)
        elif self._next == "{":
            bounds = self._braces()
        if bounds is None:
            return atom
        self._takes("?")  # how greedy it is makes no difference to what it matches
        if self._next != "" and self._next in "*+?":
            raise self._error("a repetition of a repetition")
        return Repeat(atom, *bounds)

    def _braces(self) -> tuple[int, int | None] | None:
        end = self._pattern.find("}", self._at)
        low, comma, high = self._pattern[self._at + 1 : max(end, 0)].partition(",")
        if end < 0 or not low.isdecimal() or not (high.isdecimal() or not high):
            raise self._error("braces that are no repetition")
        self._at = end + 1
        least, most = int(low), int(high) if high else None if comma else int(low)
        if (most is not None and most < least) or max(least, most or 0) > _MOST_REPETITIONS:
            raise self._error(f"a repetition beyond {_MOST_REPETITIONS}, or of less than its least")
        return least, most

    def _class(self) -> Ranges:
        negated = self._takes("^")
        ranges: list[tuple[int, int]] = []
        while self._next != "]":
            low = self._class_item()
            if self._next == "-" and self._pattern[self._at + 1 : self._at + 2] != "]" and len(low) == 1:
                self._at += 1
                high = self._class_item()
                if low[0][0] != low[0][1] or len(high) != 1 or high[0][0] < low[0][0]:
                    raise self._error("a range of characters that is none")
                low = ((low[0][0], high[0][1]),)
            ranges += low
        self._at += 1
        return complement(ranges) if negated else tuple(ranges)

    def _class_item(self) -> Ranges:
        character = self._take()
        if character == "\\":
            if self._takes("b"):
                return ((8, 8),)
            if self._takes("-"):
                return ((0x2D, 0x2D),)
            return self._escape()
        return ((ord(character), ord(character)),)

    def _escape(self) -> Ranges:
        character = self._take()
        if character.lower() in _CLASSES:
            ranges = _CLASSES[character.lower()]
            return complement(ranges) if character.isupper() else ranges
        if character in _CONTROLS:
            code = _CONTROLS[character]
        elif character == "c":
            code = ord(self._take()) % 32
        elif character == "x":
            code = self._hex(2)
        elif character == "u" and self._takes("{"):
            end = self._pattern.find("}", self._at)
            code = self._hex(end - self._at)
            self._at += 1
        elif character == "u":
            code = self._hex(4)
        elif character.isalnum():
            raise self._error(f"\\{character}")
        else:
            code = ord(character)
        return ((code, code),)

    def _hex(self, length: int) -> int:
        digits = self._pattern[self._at : self._at + max(length, 1)]
        self._at += len(digits)
        try:
            code = int(digits, 16)
        except ValueError:
            raise self._error("an escape that is no character") from None
        if code > LAST:
            raise self._error("an escape that is no character")
        return code

    @property
    def _next(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        if self._at >= len(self._pattern):
            raise self._error("an end too early")
        self._at += 1
        return self._pattern[self._at - 1]

    def _takes(self, character: str) -> bool:
        if self._next != character:
            return False
        self._at += 1
        return True

    def _error(self, what: str) -> ValueError:
        return ValueError(f"pattern {self._pattern[:80]!r} has {what}, which cannot be enforced")
