"""Where a JSON value ends, and what a JSON string says, in text that arrives in chunks."""

from __future__ import annotations

import json
import re
from typing import Final

_OUTSIDE: Final = re.compile(r'["{}\[\]<]')
_INSIDE: Final = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SCALAR_END: Final = re.compile(r"[\s,}\]<]")
_HEX: Final = "[0-9a-fA-F]"
_HIGH: Final = rf"\\u[dD][89abAB]{_HEX}{{2}}"
_LOW: Final = rf"\\u[dD][c-fC-F]{_HEX}{{2}}"
_ESCAPE: Final = re.compile(rf"{_HIGH}{_LOW}|\\u{_HEX}{{4}}|\\[^u]", re.DOTALL)
# What is whole up to here, whatever follows: no escape that may go on, no first half of a surrogate pair.
_WHOLE: Final = re.compile(
    rf"(?:[^\\]|\\[^u]|\\u{_HEX}{{0,3}}(?!{_HEX}|\Z)|(?!{_HIGH})\\u{_HEX}{{4}}|{_HIGH}{_LOW}"
    rf"|{_HIGH}(?=[^\\]|\\[^u]|(?!{_LOW})\\u(?:{_HEX}{{4}}|{_HEX}{{0,3}}(?!{_HEX}|\Z))))*+",
    re.DOTALL,
)


class JsonScanner:
    """Finds the end of one JSON value, by its brackets and quotes alone: what is inside is not checked.

    `<` outside a string is no JSON, but starts the marker that ends a call: there the value ends, however broken.
    """

    __slots__ = ("_depth", "_escaped", "_in_string", "_started", "done")

    def __init__(self, *, in_string: bool = False) -> None:
        self.done = False
        self._depth = 0
        self._started = self._in_string = in_string
        self._escaped = False

    def scan(self, text: str, at: int) -> int:
        """The index right behind the value; len(text), and not `done`, while it goes on. The value starts at once."""
        while at < len(text) and not self.done:
            if self._escaped:
                at, self._escaped = at + 1, False
            elif self._in_string:
                at = self._inside(text, at)
            elif self._depth or (text[at] in '"{[' and not self._started):
                at = self._outside(text, at)
            else:
                at = self._scalar(text, at)
            self._started = True
        return at

    def _inside(self, text: str, at: int) -> int:
        match = _INSIDE.match(text, at)
        at = match.end() if match else at
        if at < len(text) and text[at] == '"':
            self._in_string = False
            self.done = not self._depth
        self._escaped = at < len(text) and self._in_string  # by a backslash at the end of the text
        return min(at + 1, len(text))

    def _outside(self, text: str, at: int) -> int:
        match = _OUTSIDE.search(text, at)
        if match is None:
            return len(text)
        if match[0] == "<":
            self.done = True
            return match.start()
        if match[0] == '"':
            self._in_string = True
        else:
            self._depth += 1 if match[0] in "{[" else -1
            self.done = not self._depth
        return match.end()

    def _scalar(self, text: str, at: int) -> int:
        match = _SCALAR_END.search(text, at)
        self.done = match is not None
        return match.start() if match else len(text)


class StringDecoder:
    """Decodes what stands between the quotes of a JSON string."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, raw: str) -> str:
        raw = self._rest + raw
        match = _WHOLE.match(raw)
        end = match.end() if match else 0
        self._rest = raw[end:]
        return decoded(raw[:end])

    def finish(self) -> str:
        rest, self._rest = self._rest, ""
        return decoded(rest)


def decoded(raw: str) -> str:
    """What a JSON string says; lone surrogates, which no UTF-8 can carry, become U+FFFD. Broken escapes stay."""
    return _ESCAPE.sub(_unescaped, raw)


def _unescaped(match: re.Match[str]) -> str:
    try:
        text: str = json.loads(f'"{match[0]}"', strict=False)
    except ValueError:
        return match[0]
    return "\ufffd" if "\ud800" <= text <= "\udfff" else text
