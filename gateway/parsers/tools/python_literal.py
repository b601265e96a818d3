"""Python literals: where one ends in text that arrives in chunks, and what it is in JSON."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Final

_OUTSIDE: Final = re.compile(r"""["'(\[{)\]},]""")
_INSIDE: Final = {quote: re.compile(rf"[{quote}\\]") for quote in "\"'"}
_JSON_WORDS: Final = frozenset({"true", "false", "null"})


class LiteralScanner:
    """Finds the comma or bracket that ends one literal among others."""

    __slots__ = ("_depth", "_escaped", "_quote", "done")

    def __init__(self) -> None:
        self.done = False
        self._depth = 0
        self._quote = ""
        self._escaped = False

    def scan(self, text: str, at: int) -> int:
        """The index of what ends the literal; len(text), and not `done`, while it goes on."""
        while at < len(text) and not self.done:
            if self._escaped:
                at, self._escaped = at + 1, False
                continue
            match = (_INSIDE[self._quote] if self._quote else _OUTSIDE).search(text, at)
            if match is None:
                return len(text)
            at = match.end()
            if match[0] == "\\":
                self._escaped = True
            elif match[0] in "\"'":
                self._quote = "" if self._quote else match[0]
            elif match[0] in "([{":
                self._depth += 1
            elif self._depth:
                self._depth -= match[0] != ","
            else:
                at, self.done = match.start(), True
        return at


def literal_as_json(text: str) -> str | None:
    """The JSON of a literal; None where it is none, or one that JSON cannot say."""
    text = text.strip()
    if text in _JSON_WORDS:
        return text
    return _as_json(text) or (_as_json(text.replace("\n", "\\n")) if "\n" in text else None)


def _as_json(text: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know, which stay as they are
            value = ast.literal_eval(text)
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
