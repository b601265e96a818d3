"""The tokens of an answer, and which of them go out with which text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from triton_repo.contract.tensors import TEXT_LENGTH, TOKEN_ID


class Token(NamedTuple):
    """One token as OpenAI's chat format lists it, and where in the text of its choice it begins, in characters.

    `entry` is JSON: as Python objects the tokens of a long answer would take ten times the memory. It is empty where
    only the lengths of tokens were asked for. `id` is that of a token of the answer, not of a prompt in its text, where
    ids were asked for.
    """

    entry: bytes
    start: int
    id: int | None = None

    @property
    def is_listed(self) -> bool:
        """It has a logprob, or would have one if the engine knew it."""
        return self.entry != _NO_ENTRY


_NO_ENTRY: Final = b"{}"


class TokenQueue:
    """The tokens of one choice wait here for their text, so that streamed and whole answers list the same ones.

    A token leaves with the first character that it adds to the text; one that only begins a character, with the token
    that completes it. What a stop string cuts off is listed up to the end of the stop string, as vLLM does.

    Args:
        min_tokens: `exempt` is the number of characters that the first `min_tokens` tokens add.
    """

    def __init__(self, min_tokens: int = 0) -> None:
        self._min_tokens = min_tokens
        self._num_prompt = 0
        self._waiting: list[Token] = []
        self._next_start = 0
        self._sent = 0  # characters
        self.num_added = 0
        self.num_taken = 0
        self.exempt = 0

    def expect_prompt(self, num: int) -> None:
        """The first `num` tokens, none of which has been added yet, are those of the prompt; they are `exempt` too."""
        self._min_tokens += num
        self._num_prompt = num

    def length_of(self, num: int) -> int:
        """The characters of the first `num` tokens, none of which has been taken yet."""
        return self._waiting[num].start if num < len(self._waiting) else self._next_start

    def add(self, arrived: str) -> None:
        """Add the tokens of one delta: JSON, see `triton_repo.contract.tensors.TEXT_OUTPUT`."""
        for entry in orjson.loads(arrived or "[]"):
            length, id = entry.pop(TEXT_LENGTH), entry.pop(TOKEN_ID, None)
            self.num_added += 1
            own_id = id if self.num_added > self._num_prompt else None
            self._waiting.append(Token(_dumped(entry) if entry else _NO_ENTRY, self._next_start, own_id))
            self._next_start += length
            if self.num_added <= self._min_tokens:
                self.exempt = self._next_start

    def take(self, sent: str, beyond: int | None) -> list[Token]:
        """The tokens that leave with the text `sent`.

        Args:
            beyond: characters after the text whose tokens leave too; None for all, at the end.
        """
        self._sent += len(sent)
        leaving = self._waiting
        if beyond is not None:
            leaving = [token for token in self._waiting if token.start < self._sent + beyond]
        self._waiting = self._waiting[len(leaving) :]
        self.num_taken += len(leaving)
        return leaving


def _dumped(entry: Mapping[str, Any]) -> bytes:
    """A copy: what orjson returns keeps the 4 KiB that it was written into."""
    return bytes(memoryview(orjson.dumps(entry)))
