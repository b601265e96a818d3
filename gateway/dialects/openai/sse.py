"""The one place that makes the bytes of server-sent events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from gateway.dialects.openai.shape import Head, Json, Piece, Shape, Usage
from gateway.http.errors import envelope
from triton_repo.contract.errors import RequestError

DONE: Final = b"data: [DONE]\n\n"
PING: Final = b": ping\n\n"
_TEXT: Final = "\x00text\x00"


class Chunks:
    """Events of one streamed answer. All but the text itself is encoded once, before the first token.

    With `include_usage` every chunk has `usage`: null, and one more chunk, without choices, has the counts.
    """

    def __init__(self, shape: Shape[Any], head: Head, num_choices: int, include_usage: bool) -> None:
        self._shape = shape
        self._head = head
        self._num_choices = num_choices
        self._include_usage = include_usage
        self._around_text = [self._split(shape.addition(index, _TEXT)) for index in range(num_choices)]

    def opening(self) -> bytes:
        choices = [self._shape.opening(index) for index in range(self._num_choices)]
        return b"".join(self._event([choice]) for choice in choices if choice is not None)

    def piece(self, piece: Piece) -> bytes:
        """The events of one piece: none for an empty one, two if it brings the last text together with the end."""
        events = b""
        if piece.tokens:
            events = self._event([self._shape.addition(piece.choice, piece.text, piece.tokens)])
        elif piece.text:
            before, after = self._around_text[piece.choice]
            events = before + orjson.dumps(piece.text) + after
        if piece.finish_reason is not None:
            events += self._event([self._shape.ending(piece.choice, piece.finish_reason)])
        return events

    def closing(self, usage: Usage) -> bytes:
        return (self._event([], usage.to_json()) if self._include_usage else b"") + DONE

    def _event(self, choices: Sequence[Json], usage: Json | None = None) -> bytes:
        chunk = self._shape.chunk(self._head, choices)
        if self._include_usage:
            chunk["usage"] = usage
        return _encode(chunk)

    def _split(self, choice: Json) -> tuple[bytes, bytes]:
        before, after = self._event([choice]).split(orjson.dumps(_TEXT))
        return before, after


def error_event(error: RequestError) -> bytes:
    """The last event of a stream that fails: the one shape that OpenAI's clients raise on. No [DONE] follows."""
    return _encode(envelope(error))


def _encode(payload: Json) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"
