"""Answers that a guide keeps to calls or to text of a set form: JSON, which may well hold the marker of a call."""

from __future__ import annotations

from gateway.parsers.parser import Parser, Piece, TextPiece


class SetTextOr:
    """All is text, unless the answer begins with `start`: then `calls` reads it."""

    def __init__(self, start: str, calls: Parser) -> None:
        self._start = start
        self._calls = calls
        self._held = ""
        self._is_text: bool | None = None  # not known yet

    def feed(self, text: str) -> list[Piece]:
        if self._is_text is None:
            text = self._held + text
            begun = text.lstrip()
            if self._start.startswith(begun) and begun != self._start:
                self._held = text
                return []
            self._held = ""
            self._is_text = not begun.startswith(self._start)
        if not self._is_text:
            return self._calls.feed(text)
        return [TextPiece(text)] if text else []

    def finish(self) -> list[Piece]:
        held: list[Piece] = [TextPiece(self._held)] if self._held else []
        return held if self._is_text is not False else self._calls.finish()
