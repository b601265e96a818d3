"""`call:NAME{KEY:VALUE, …}` between markers, its strings between quotes of their own: Gemma 4, FunctionGemma.

It is JSON but for the quotes: keys have none, and strings no escapes.
"""

from __future__ import annotations

import json
import re
from typing import Final

from gateway.parsers.parser import CallArguments, CallEnd, CallStart, Parser
from gateway.parsers.source import Markers, Source, Steps
from gateway.parsers.tools.answer import answer, close
from gateway.parsers.tools.parameters import ANY_BUT_STRING, json_argument

_NAME: Final = re.compile(r"[^\s{}<>\[\],:]")
_CLOSING: Final = {"{": "}", "[": "]"}


class Gemma:
    """The grammar of calls between `start` and `end`, their strings between `quote`s."""

    def __init__(self, start: str, end: str, quote: str) -> None:
        self.markers: Final = (start, end, quote)
        self._starts = Markers(start)
        self._end = end
        self._quote = quote
        self._string_end = Markers(quote)
        self._outside = Markers(quote, end, *"{}[],:")

    def parser(self) -> Parser:
        return answer(self._starts, self._calls)

    def _calls(self, source: Source, _marker: str) -> Steps[bool]:
        yield from source.space()
        yield from source.skip("call:")
        name = yield from source.word(_NAME)
        if not (name and (yield from source.skip("{"))):
            return False
        source.commit()
        yield CallStart(name)
        yield CallArguments("{")
        if (yield from self._object(source)):
            yield CallEnd()
            source.commit()
            yield from close(source, self._end)
        else:
            source.commit()
        return True

    def _object(self, source: Source) -> Steps[bool]:
        """What stands behind the first brace; whether the object has ended, with its brace or with the call."""
        written, word = _Object(), ""
        while written.brackets:
            text, marker = yield from source.until(self._outside)
            word += text
            if marker == ":" and written.expects != "key":
                word += marker  # of a time, or a URL
            elif marker == self._quote:
                yield CallArguments(f'{written.before(word.strip(), marker)}"')
                if not (yield from self._string(source)):
                    return False
                word = written.after_string()
            elif marker or not text:
                word = word if marker else self._outside.without_start(word)
                if json_text := written.upto(word.strip(), marker):
                    yield CallArguments(json_text)
                if not marker:
                    return False
                word = ""
        return True

    def _string(self, source: Source) -> Steps[bool]:
        """A string up to its quote; whether that came."""
        while True:
            text, quote = yield from source.until(self._string_end)
            if source.is_over:
                text = self._string_end.without_start(text)
            if text or quote:
                yield CallArguments(json.dumps(text, ensure_ascii=False)[1:-1] + ('"' if quote else ""))
            if quote or not text:
                return bool(quote)


class _Object:
    """The JSON of an object, of which `brackets` are open. `expects` is what comes next: a key, a value or neither."""

    def __init__(self) -> None:
        self.brackets = ["{"]
        self.expects = "key"

    def before(self, word: str, marker: str) -> str:
        """The JSON of a word that stands before a marker: a key, a value, or a key without one."""
        if not word or not marker:  # cut off
            return word if self.expects == "value" else ""
        if self.expects == "key":
            return json.dumps(word, ensure_ascii=False) + ("" if marker == ":" else ":null")
        self.expects = ""
        return json_argument(word, ANY_BUT_STRING)

    def after_string(self) -> str:
        self.expects = "key" if self.expects == "key" else ""
        return ""

    def upto(self, word: str, marker: str) -> str:
        """The JSON of a word and the marker behind it. The marker that ends the call closes all, "" closes nothing."""
        written = self.before(word, marker)
        if marker == ":":
            self.expects = "value"
        elif marker in ("{", "["):
            self.brackets.append(marker)
            self.expects = "key" if marker == "{" else "value"
        elif marker == ",":
            written += self._missing()
            self.expects = "key" if self.brackets[-1] == "{" else "value"
        else:
            for _ in range(1 if marker in ("}", "]") else len(self.brackets) if marker else 0):
                written += self._close()
            return written
        return written + marker

    def _missing(self) -> str:
        return "null" if self.expects == "value" and self.brackets[-1] == "{" else ""

    def _close(self) -> str:
        missing = self._missing()
        self.expects = ""
        return missing + _CLOSING[self.brackets.pop()]
