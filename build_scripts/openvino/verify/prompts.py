"""The prompts that both transformers and the engine get: random ones, as long as it takes to leave every window."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, Final

NEW_TOKENS: Final = 4  # that follow each prompt
_SHORT: Final = (1, 2, 17)
_LONG: Final = 160
_BEYOND: Final = 40  # tokens past the end of a window
_LONGEST: Final = 1200  # a window that is longer is not left: such a prompt takes minutes
_LENGTH_KEYS: Final = ("window", "chunk_size", "original_max_position_embeddings")
_SEED: Final = 11


def make_prompts(config: Mapping[str, Any], vocab_size: int, max_seq_len: int) -> list[list[int]]:
    """Token ids, the same at every call; each leaves room for `NEW_TOKENS`.

    Args:
        config: the checkpoint's `config.json`.
        max_seq_len: of prompt and answer together.
    """
    room = max(1, max_seq_len - NEW_TOKENS)
    beyond = [length + _BEYOND for length in attention_lengths(config)]
    long = max([_LONG, *(length for length in beyond if length <= _LONGEST)])
    chance = random.Random(_SEED)  # noqa: S311 - nothing secret
    lengths = sorted({min(length, room) for length in (*_SHORT, long)})
    return [[chance.randrange(vocab_size) for _ in range(length)] for length in lengths]


def attention_lengths(config: Mapping[str, Any]) -> Iterator[int]:
    """In tokens: after how many of them attention or positions change, by any name that models give it."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from attention_lengths(value)
        elif isinstance(value, int) and value > 1 and any(part in key for part in _LENGTH_KEYS):
            yield value
