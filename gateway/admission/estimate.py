"""What a request will cost an engine, in tokens, before the engine has seen it."""

from __future__ import annotations

from typing import Final, NamedTuple

_BYTES_PER_TOKEN: Final = 4.0  # of English text, in most vocabularies
_BYTES_OF_A_TOKEN: Final = (1.0, 16.0)  # what one answer may say: else one client could spoil the mean for all
_COMPLETION_TOKENS: Final = 256.0
_ROOM_FOR: Final = 2  # times the usual answer, where a request names no longest one
_WEIGHT: Final = 0.05  # of one more answer in the means


class Prompt(NamedTuple):
    """The size of a prompt: its tokens where it is a list of them, else the bytes of its text."""

    num_bytes: int
    num_tokens: int | None = None


class Work(NamedTuple):
    """`num_tokens` is the room in the KV cache that is kept for a generation; `cost` what it is expected to take.

    Room for an answer is its `max_tokens`; without, twice a usual answer: the whole context, which few fill, would let
    an engine run as many requests as its cache holds contexts, whatever its batch.
    """

    num_tokens: int
    cost: int


class Estimate:
    """Of one engine, from the answers that it has given."""

    def __init__(self, max_seq_len: int) -> None:
        self.max_seq_len = max_seq_len
        self._bytes_per_token = _BYTES_PER_TOKEN
        self._completion_tokens = _COMPLETION_TOKENS

    def work(self, prompt: Prompt, max_tokens: int | None) -> Work:
        tokens = prompt.num_tokens
        if tokens is None:
            tokens = int(prompt.num_bytes / self._bytes_per_token) + 1
        tokens = min(tokens, self.max_seq_len)
        usual = int(self._completion_tokens)
        longest = min(self.max_seq_len - tokens, _ROOM_FOR * usual if max_tokens is None else max_tokens)
        return Work(tokens + longest, tokens + min(longest, usual))

    def learn(self, prompt: Prompt, prompt_tokens: int, completion_tokens: int) -> None:
        """An answer has ended."""
        if prompt.num_tokens is None and prompt_tokens > 0:
            least, most = _BYTES_OF_A_TOKEN
            bytes_per_token = max(least, min(most, prompt.num_bytes / prompt_tokens))
            self._bytes_per_token += _WEIGHT * (bytes_per_token - self._bytes_per_token)
        self._completion_tokens += _WEIGHT * (completion_tokens - self._completion_tokens)
