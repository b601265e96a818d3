"""The tokens of an answer with their logprobs, and which of them go out with which text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from triton_repo.tensors import TEXT_LENGTH

Json = dict[str, Any]


class Token(NamedTuple):
    """One token as OpenAI's chat format lists it, and where in the text of its answer it begins, in characters."""

    entry: Json
    start: int


class TokenQueue:
    """The tokens of one choice wait here for their text, so that streamed and whole answers list the same ones.

    A token leaves with the first character that it adds to the text; one that only begins a character, with the token
    that completes it. What a stop string cuts off is listed up to the end of the stop string, as vLLM does.
    """

    def __init__(self) -> None:
        self._waiting: list[Token] = []
        self._next_start = 0
        self._sent = 0  # characters

    def take(self, arrived: str, sent: str, beyond: int | None) -> list[Token]:
        """The tokens that leave with the text `sent`.

        Args:
            arrived: the tokens that have come, as JSON (see `TEXT_OUTPUT`).
            beyond: characters behind the text whose tokens leave too; None for all, at the end.
        """
        for entry in orjson.loads(arrived or "[]"):
            length = entry.pop(TEXT_LENGTH)
            self._waiting.append(Token(entry, self._next_start))
            self._next_start += length
        self._sent += len(sent)
        leaving = self._waiting
        if beyond is not None:
            leaving = [token for token in self._waiting if token.start < self._sent + beyond]
        self._waiting = self._waiting[len(leaving) :]
        return leaving


def chat_logprobs(tokens: Sequence[Token] | None) -> Json | None:
    """`choices[].logprobs` of a chat; None where nobody asked for them."""
    return None if tokens is None else {"content": [token.entry for token in tokens], "refusal": None}


def completion_logprobs(tokens: Sequence[Token] | None) -> Json | None:
    """`choices[].logprobs` of a (legacy) completion: of each place the likeliest tokens, and the one that was taken."""
    if tokens is None:
        return None
    return {
        "tokens": [token.entry["token"] for token in tokens],
        "token_logprobs": [token.entry["logprob"] for token in tokens],
        "top_logprobs": [_by_text(token.entry) for token in tokens],
        "text_offset": [token.start for token in tokens],
    }


def _by_text(entry: Json) -> dict[str, float]:
    """Of two tokens with one text (parts of characters) the likelier is shown."""
    shown: dict[str, float] = {}
    for token in sorted([entry, *entry["top_logprobs"]], key=lambda token: token["logprob"], reverse=True):
        shown.setdefault(token["token"], token["logprob"])
    return shown
