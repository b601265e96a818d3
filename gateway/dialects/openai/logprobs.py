"""The tokens of an answer with their logprobs, and which of them go out with which text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.sampling import LOGPROBS_FIELD, Sampling
from triton_repo.contract.tensors import TEXT_LENGTH

# All tokens of one HTTP request with their alternatives: about 60 MB of JSON, which waits for who reads slowly.
MAX_LOGPROBS_OF_A_REQUEST: Final = 1 << 20


def refuse_too_many(sampling: Sampling, num_choices: int, max_seq_len: int) -> None:
    """
    Raises:
        InvalidRequest: the answers may come to have more than `MAX_LOGPROBS_OF_A_REQUEST`.
    """
    if sampling.logprobs is None:
        return
    max_tokens = min(sampling.max_tokens or max_seq_len, max_seq_len)
    num_logprobs = num_choices * max_tokens * (1 + sampling.logprobs)
    if num_logprobs > MAX_LOGPROBS_OF_A_REQUEST:
        raise InvalidRequest(
            f"{LOGPROBS_FIELD}: {num_choices} answers of up to {max_tokens} tokens, each with {sampling.logprobs} "
            f"alternatives, may have {num_logprobs} logprobs; at most {MAX_LOGPROBS_OF_A_REQUEST}: lower max_tokens",
            LOGPROBS_FIELD,
        )


class Token(NamedTuple):
    """One token as OpenAI's chat format lists it, and where in the text of its answer it begins, in characters.

    `entry` is JSON: as Python's objects the tokens of a long answer would take ten times the memory.
    """

    entry: bytes
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
            self._waiting.append(Token(orjson.dumps(entry), self._next_start))
            self._next_start += length
        self._sent += len(sent)
        leaving = self._waiting
        if beyond is not None:
            leaving = [token for token in self._waiting if token.start < self._sent + beyond]
        self._waiting = self._waiting[len(leaving) :]
        return leaving


def chat_logprobs(tokens: Sequence[Token] | None) -> dict[str, Any] | None:
    """`choices[].logprobs` of a chat; None where nobody asked for them."""
    return None if tokens is None else {"content": [orjson.Fragment(token.entry) for token in tokens], "refusal": None}


def completion_logprobs(tokens: Sequence[Token] | None) -> dict[str, Any] | None:
    """`choices[].logprobs` of a (legacy) completion: of each place the likeliest tokens, and the one that was taken."""
    if tokens is None:
        return None
    entries = [orjson.loads(token.entry) for token in tokens]
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [_by_text(entry) for entry in entries],
        "text_offset": [token.start for token in tokens],
    }


def _by_text(entry: dict[str, Any]) -> dict[str, float]:
    """Of two tokens with one text (parts of characters) the likelier is shown."""
    shown: dict[str, float] = {}
    for token in sorted([entry, *entry["top_logprobs"]], key=lambda token: token["logprob"], reverse=True):
        shown.setdefault(token["token"], token["logprob"])
    return shown
