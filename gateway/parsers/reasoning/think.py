"""Reasoning between two markers at the start of an answer: `<think>…</think>` and the like."""

from __future__ import annotations

from typing import Final

from gateway.parsers.parser import Parser, ReasoningPiece, TextPiece
from gateway.parsers.source import Markers, Source, SteppedParser, Steps


class Think:
    """The grammar of answers that may start with reasoning between `start` and `end`.

    Line breaks next to the markers belong to them, in the reasoning and in the text behind it. A marker in the midst
    of the text is text: a model may write about its markers.
    """

    def __init__(self, start: str, end: str) -> None:
        self._start: Final = start
        self._end: Final = Markers(end)

    def parser(self, *, is_open: bool) -> Parser:
        """`is_open`: the prompt ends within the reasoning, so its start marker is not part of the answer."""
        return SteppedParser(lambda source: self._answer(source, is_open))

    def _answer(self, source: Source, is_open: bool) -> Steps[None]:
        space = yield from source.space()
        while (yield from source.skip(self._start)) or is_open:
            is_open = False
            yield from self._reasoning(source)
            space = (yield from source.space()).lstrip("\r\n")
        if space:
            yield TextPiece(space)
        while (yield from source.any()):
            yield TextPiece(source.take(len(source.text)))

    def _reasoning(self, source: Source) -> Steps[None]:
        held = ""
        yield from source.space()
        while True:
            text, marker = yield from source.until(self._end)
            said = text.rstrip("\r\n")
            if said:
                yield ReasoningPiece(held + said)
                held = ""
            held += text[len(said) :]
            if marker or not text:
                return
