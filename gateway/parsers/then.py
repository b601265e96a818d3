"""Reasoning first, then text and calls: the parser that two make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.parsers.parser import Parser, Piece, TextPiece


class Then:
    """What `first` leaves as text, `second` reads."""

    def __init__(self, first: Parser, second: Parser) -> None:
        self._first = first
        self._second = second

    def feed(self, text: str) -> list[Piece]:
        return [*self._second_of(self._first.feed(text))]

    def finish(self) -> list[Piece]:
        return [*self._second_of(self._first.finish()), *self._second.finish()]

    def _second_of(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            if isinstance(piece, TextPiece):
                yield from self._second.feed(piece.text)
            else:
                yield piece
