"""Text that arrives in chunks and is read once, from left to right, by a generator.

A grammar of a model family is a generator over a `Source`: it yields pieces, and None where it needs more text. So it
is written as if the whole text were there, and is the same for every chunking.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from typing import Final, TypeVar

from gateway.parsers.parser import Piece

T = TypeVar("T")
Steps = Generator[Piece | None, None, T]
Wait = Generator[None, None, T]  # what yields no pieces itself

MAX_WORD: Final = 256  # characters of a name or a key: what is longer is none
_VISIBLE: Final = re.compile(r"\S")


class Source:
    """The unread text is `text[at:]`. What is read must leave no more than the start of a marker unread before it
    waits for more, so that the time is linear in the length of the text."""

    __slots__ = ("_taken", "at", "ended", "text")

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self._taken: list[str] | None = None

    def add(self, text: str) -> None:
        self.text = self.text[self.at :] + text
        self.at = 0

    @property
    def is_over(self) -> bool:
        return self.ended and self.at == len(self.text)

    def take(self, end: int) -> str:
        """Read up to `end`, an index of `text`."""
        taken = self.text[self.at : end]
        self.at = end
        if self._taken is not None and taken:
            self._taken.append(taken)
        return taken

    def unread(self, marker: str) -> None:
        """Give back the marker that was just read."""
        self.at -= len(marker)

    def commit(self) -> None:
        """What was read so far is no text; from here on, keep what is read, for `uncommitted`."""
        self._taken = []

    def uncommitted(self) -> str:
        """What was read since `commit`, which has turned out to be text. No more is kept."""
        taken = "".join(self._taken or ())
        self._taken = None
        return taken

    def more(self) -> Wait[bool]:
        """Wait for text beyond that which is there; False where the text has ended."""
        unread = len(self.text) - self.at
        while len(self.text) - self.at == unread:
            if self.ended:
                return False
            yield None
        return True

    def any(self) -> Wait[bool]:
        """Wait until there is text; False where it has ended."""
        return self.at < len(self.text) or (yield from self.more())

    def peek(self) -> Wait[str]:
        """The next character, unread; "" at the end."""
        yield from self.any()
        return self.text[self.at : self.at + 1]

    def space(self) -> Wait[str]:
        """Read white space, as much as there is."""
        taken = []
        while (yield from self.peek()).isspace():
            end = _VISIBLE.search(self.text, self.at)
            taken.append(self.take(end.start() if end else len(self.text)))
        return "".join(taken)

    def comes(self, *markers: str, or_ends: bool = False) -> Wait[bool]:
        """Whether any of the markers comes next, unread; with `or_ends`, or the text ends before that is known."""
        while not self.text.startswith(markers, self.at):
            unread = self.text[self.at :]
            if not any(marker.startswith(unread) for marker in markers):
                return False
            if not (yield from self.more()):
                return or_ends
        return True

    def skip(self, marker: str) -> Wait[bool]:
        """Read `marker` if it comes next, else nothing."""
        comes = yield from self.comes(marker)
        if comes:
            self.take(self.at + len(marker))
        return comes

    def skip_or_end(self, *markers: str) -> Wait[bool]:
        """Read the one of `markers` that comes next, or the start of one with which the text ends."""
        for marker in markers:
            if (yield from self.comes(marker, or_ends=True)):
                self.take(min(len(self.text), self.at + len(marker)))
                return True
        return False

    def word(self, characters: re.Pattern[str]) -> Wait[str]:
        """Read as many characters as match, one by one; at most `MAX_WORD`."""
        taken = ""
        while len(taken) < MAX_WORD and (yield from self.any()) and characters.match(self.text, self.at):
            taken += self.take(self.at + 1)
        return taken

    def up_to(self, markers: Markers) -> Wait[str]:
        """Read text up to a marker, which stays unread; "" where none comes within `MAX_WORD` characters.

        Then one more than these have been read, however the text arrived.
        """
        taken = ""
        while len(taken) <= MAX_WORD and (yield from self.any()):
            match = markers.search(self.text, self.at)
            start = match.start() if match else len(self.text)
            taken += self.take(min(start, self.at + MAX_WORD + 1 - len(taken)))
            if self.at < start:
                return ""
            if match and match.lastindex:
                return taken if len(taken) <= MAX_WORD else ""
            if not (yield from self.more()):
                self.take(len(self.text))
        return ""

    def until(self, markers: Markers) -> Wait[tuple[str, str]]:
        """Read text up to a marker, and the marker: the text, and "" for the marker where none has come yet.

        Both are "" only at the end. Text that cannot start a marker is returned at once.
        """
        while True:
            match = markers.search(self.text, self.at)
            if match is None:
                text, marker = self.take(len(self.text)), ""
            elif match.lastindex:
                text, marker = self.take(match.start()), self.take(match.end())
            else:
                text, marker = self.take(match.start()), ""
            if text or marker:
                return text, marker
            if not (yield from self.more()):
                return self.take(len(self.text)), ""


def joined(chunks: Iterator[str | None]) -> Wait[str]:
    """All chunks as one text."""
    texts = []
    for chunk in chunks:
        if chunk is None:
            yield None
        else:
            texts.append(chunk)
    return "".join(texts)


class Markers:
    """A few strings, of which no one starts another, that are searched in text that may end inside one of them."""

    def __init__(self, *markers: str) -> None:
        starts = {marker[:end] for marker in markers for end in range(1, len(marker))}
        if starts & set(markers):
            raise ValueError(f"markers {markers}: one is the start of another")
        whole = "|".join(map(re.escape, markers))
        tails = "|".join(re.escape(start) for start in sorted(starts, key=len, reverse=True))
        self.search: Final = re.compile(rf"({whole})|(?:{tails})\Z" if tails else f"({whole})").search

    def without_start(self, text: str) -> str:
        """Text that was cut off, without the start of a marker at its end."""
        match = self.search(text)
        return text[: match.start()] if match else text


class SteppedParser:
    """The parser that a grammar is."""

    def __init__(self, grammar: Callable[[Source], Steps[None]]) -> None:
        self._source = Source()
        self._steps = grammar(self._source)

    def feed(self, text: str) -> list[Piece]:
        self._source.add(text)
        return self._pieces()

    def finish(self) -> list[Piece]:
        self._source.ended = True
        return self._pieces()

    def _pieces(self) -> list[Piece]:
        pieces: list[Piece] = []
        for piece in self._steps:
            if piece is None:
                break
            pieces.append(piece)
        return pieces
