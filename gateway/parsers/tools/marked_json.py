"""A marker, and then a call as a JSON object, or several in a list: Hermes, Qwen, Granite, Phi-4-mini and others."""

from __future__ import annotations

from typing import Final

from gateway.parsers.json_call import json_call
from gateway.parsers.parser import Parser
from gateway.parsers.source import Markers, Source, SteppedParser, Steps, Wait
from gateway.parsers.spacing import Spacing


class MarkedJson:
    """The grammar of answers where calls stand behind one of `starts`, and may end with `end`."""

    def __init__(self, *starts: str, end: str = "") -> None:
        self._starts: Final = Markers(*starts)
        self._end: Final = end

    def parser(self) -> Parser:
        return SteppedParser(self._answer)

    def _answer(self, source: Source) -> Steps[None]:
        spacing = Spacing()
        while True:
            text, marker = yield from source.until(self._starts)
            if text:
                yield from spacing.text(text)
            if marker:
                yield from self._calls(source, spacing, marker)
            elif not text:
                break
        yield from spacing.end()

    def _calls(self, source: Source, spacing: Spacing, marker: str) -> Steps[None]:
        """The calls behind a marker. What is none comes back as text."""
        source.remember()
        yield from source.space()
        is_list = yield from source.skip("[")
        while (yield from json_call(source)):
            spacing.call()
            marker = ""
            source.remember()
            if not is_list or not (yield from _next_item(source)):
                break
        if marker:
            yield from spacing.text(marker + source.forget())
        else:
            yield from self._close(source, spacing)

    def _close(self, source: Source, spacing: Spacing) -> Steps[None]:
        """The end of the calls, with brackets too many: models that lose count write them."""
        yield from source.space()
        while (yield from source.skip("}")) or (yield from source.skip("]")):
            yield from source.space()
        ended = self._end and (yield from source.skip(self._end))
        rest = source.forget()
        if not ended:
            yield from spacing.text(rest)


def _next_item(source: Source) -> Wait[bool]:
    yield from source.space()
    is_next = yield from source.skip(",")
    yield from source.space()
    return is_next
