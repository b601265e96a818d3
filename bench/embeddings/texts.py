"""The texts that are encoded: always the same, of lengths as passages and queries have them."""

from __future__ import annotations

import random
from typing import Final

# As often as English has words of these numbers of tokens; what they mean is no matter.
_WORDS: Final = (
    "the",
    "of",
    "reading",
    "people",
    "which",
    "embeddings",
    "a",
    "is",
    "to",
    "1984",
    "however",
    "and",
    "it",
)
LONG: Final = 200  # words


def mixed(count: int) -> list[str]:
    """From a query of some words to a passage of `LONG`: many are short, and few long."""
    source = random.Random(0)  # noqa: S311
    return [_text(source, max(3, min(LONG, int(source.lognormvariate(3.6, 0.8))))) for _ in range(count)]


def long(count: int, seed: int = 1) -> list[str]:
    source = random.Random(seed)  # noqa: S311
    return [_text(source, LONG) for _ in range(count)]


def short(number: int) -> str:
    return _text(random.Random(number), 6)  # noqa: S311


def _text(source: random.Random, num_words: int) -> str:
    return " ".join(source.choice(_WORDS) for _ in range(num_words))
