"""What the parsers of tool calls and reasoning have in common: text in, pieces out.

A parser reads the text of one answer, chunk by chunk. It knows no choices, no ids and no API, and does no I/O. Its
pieces, joined, are the same for every chunking of the text; so a streamed answer and a whole one cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

Schema = Mapping[str, Any]
Schemas = Mapping[str, Schema]  # of the arguments of each function that may be called, by its name


class TextPiece(NamedTuple):
    """A part of the answer's own text; never empty."""

    text: str


class ReasoningPiece(NamedTuple):
    """A part of the reasoning; never empty."""

    text: str


class CallStart(NamedTuple):
    """A call begins; all `CallArguments` up to the next `CallStart` are its own. `id` is one that the model wrote."""

    name: str
    id: str | None = None


class CallArguments(NamedTuple):
    """A part of the arguments of the call that is open, as JSON text; never empty."""

    text: str


class CallEnd(NamedTuple):
    """The open call is whole. Where it never comes, the answer was cut off inside the call: its arguments are not."""


Piece = TextPiece | ReasoningPiece | CallStart | CallArguments | CallEnd


class Parser(Protocol):
    """Reads one answer. It never raises: text that it cannot read as a call comes back as text."""

    def feed(self, text: str) -> list[Piece]:
        """What `text`, the next chunk, makes certain. What may yet be a marker is held back."""
        ...

    def finish(self) -> list[Piece]:
        """What was held back, now that the answer has ended, complete or not. Feed no more after it."""
        ...
