"""Tools that take free text: to the model they are functions with one argument, `input`, which is read out here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

ARGUMENT: Final = "input"

_State = Literal["opening", "text", "ended", "raw"]

_MOST_WAITING: Final = 64  # characters in front of the text
_OPENING: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_BEGINNINGS: Final = re.compile(r'\s*(?:\{\s*(?:"(?:i(?:n(?:p(?:u(?:t(?:"\s*(?::\s*)?)?)?)?)?)?)?)?)?')
# What can be read by itself: plain text, a pair of surrogates, any other escape, and what only begins like one, which
# stays as it is. The rest of a piece waits.
_HIGH: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}"
_PAIR: Final = _HIGH + r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE: Final = _HIGH + r"(?=[^\\]|\\[^u]|\\u[^dD]|\\u[dD][^c-fC-F]|\\u[dD][c-fC-F][0-9a-fA-F]?[^0-9a-fA-F])"
_OTHER: Final = r"\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u]"
_BROKEN: Final = r"\\u[0-9a-fA-F]{0,3}(?=[^0-9a-fA-F])"
_READABLE: Final = re.compile(rf'(?:[^"\\]|{_PAIR}|{_LONE}|{_OTHER}|{_BROKEN})*', re.DOTALL)
_ESCAPE: Final = re.compile(f"{_PAIR}|{_HIGH}|{_OTHER}", re.DOTALL)


def schema(pattern: str | None = None) -> Mapping[str, Any]:
    """The schema of the function's arguments; the text matches the regular expression."""
    text = {"type": "string"} if pattern is None else {"type": "string", "pattern": f"^(?:{pattern})$"}
    return {"type": "object", "properties": {ARGUMENT: text}, "required": [ARGUMENT], "additionalProperties": False}


def arguments_of(text: str) -> str:
    """The arguments of a call with this text."""
    return json.dumps({ARGUMENT: text}, ensure_ascii=False)


def input_of(arguments: str) -> str:
    """The text of a whole call."""
    reading = CustomInput()
    return reading.add(arguments) + reading.end()


class CustomInput:
    """The text of a call whose arguments come in pieces: the same whatever the pieces are, and in linear time.

    Arguments of another form, as a model may write them where nothing keeps it from that, are the text themselves.
    """

    def __init__(self) -> None:
        self._waiting = ""
        self._state: _State = "opening"

    def add(self, piece: str) -> str:
        """The text that is known with it."""
        if self._state == "ended":
            return ""
        self._waiting += piece
        if self._state == "opening":
            self._state = self._look()
        match self._state:
            case "raw":
                return self._all()
            case "text":
                return self._read()
            case _:
                return ""

    def end(self) -> str:
        """The text that is left at the end of the arguments."""
        return self._all() if self._state == "opening" else ""

    def _look(self) -> _State:
        opening = _OPENING.match(self._waiting)
        if opening is not None:
            self._waiting = self._waiting[opening.end() :]
            return "text"
        may_begin = len(self._waiting) <= _MOST_WAITING and _BEGINNINGS.fullmatch(self._waiting)
        return "opening" if may_begin else "raw"

    def _read(self) -> str:
        readable = _READABLE.match(self._waiting)
        end = readable.end() if readable else 0
        text, self._waiting = self._waiting[:end], self._waiting[end:]
        if self._waiting.startswith('"'):
            self._state = "ended"
        return _unescaped(text)

    def _all(self) -> str:
        everything, self._waiting = self._waiting, ""
        return everything


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _character(escape: re.Match[str]) -> str:
    try:
        character: str = json.loads(f'"{escape[0]}"')
    except ValueError:  # an escape that there is not
        return escape[0]
    return character.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
