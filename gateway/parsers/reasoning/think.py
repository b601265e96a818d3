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

    def __init__(self, start: str, end: str, *, ends_at_call: bool = False) -> None:
        """`ends_at_call`: the model calls in the midst of its reasoning, with markers that it never writes about."""
        self._start: Final = start
        self._end: Final = end
        self._only_end: Final = Markers(end)
        self._ends_at_call: Final = ends_at_call

    def parser(self, *, is_open: bool, call_start: str = "") -> Parser:
        """
        Args:
            is_open: the prompt ends within the reasoning, so its start marker is not part of the answer.
            call_start: the marker of a call. Models forget to end their reasoning before a call, but write about calls
                in it too: so what stands behind this marker waits for the end, and is text if there is none.
        """
        ends = Markers(self._end, call_start) if call_start else Markers(self._end)
        return SteppedParser(lambda source: self._answer(source, ends, is_open))

    def _answer(self, source: Source, ends: Markers, is_open: bool) -> Steps[None]:
        space = yield from source.space()
        while (yield from source.skip(self._start)) or is_open:
            is_open = False
            yield from self._reasoning(source, ends)
            space = (yield from source.space()).lstrip("\r\n")
        if space:
            yield TextPiece(space)
        while (yield from source.any()):
            yield TextPiece(source.take(len(source.text)))

    def _reasoning(self, source: Source, ends: Markers) -> Steps[None]:
        breaks: list[str] = []  # which belong to the end marker, if it comes next
        yield from source.space()
        yield from source.skip(self._start)  # of a model that repeats what the prompt ends with
        while True:
            text, marker = yield from source.until(ends)
            said = text.rstrip("\r\n")
            if said:
                yield ReasoningPiece("".join((*breaks, said)))
                breaks.clear()
            breaks.append(text[len(said) :])
            if marker and marker != self._end:
                yield from self._call(source, "".join((*breaks, marker)), marker)
            if marker or not text:
                return

    def _call(self, source: Source, start: str, marker: str) -> Steps[None]:
        """What starts as a call: reasoning if the reasoning ends behind it, else text."""
        held = [marker]
        while True:
            if self._ends_at_call:
                yield from (TextPiece(text) for text in held if text)
                held.clear()
            text, end = yield from source.until(self._only_end)
            held.append(text)
            if end or not text:
                break
        if end and not self._ends_at_call:
            yield ReasoningPiece((start + "".join(held[1:])).rstrip("\r\n"))
        else:
            yield from (TextPiece(text) for text in held if text)
