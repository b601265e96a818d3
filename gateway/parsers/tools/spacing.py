"""White space around calls and reasoning."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.parsers.parser import TextPiece


class Spacing:
    """Passes text on, but for white space right before a call or after the last one, which belongs to the calls.

    So the text that a client sends back in its history makes the prompt that the model knows.
    """

    __slots__ = ("_after_call", "_held")

    def __init__(self) -> None:
        self._held: list[str] = []
        self._after_call = False

    def text(self, text: str) -> Iterator[TextPiece]:
        words = text.rstrip()
        if words:
            yield TextPiece("".join((*self._held, words)))
            self._held.clear()
            self._after_call = False
        if len(words) < len(text):
            self._held.append(text[len(words) :])

    def call(self) -> None:
        """A call starts here."""
        self._held.clear()
        self._after_call = True

    def end(self) -> Iterator[TextPiece]:
        if self._held and not self._after_call:
            yield TextPiece("".join(self._held))
