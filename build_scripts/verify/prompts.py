"""The prompts for both the shards and transformers: a few random ones, and the ends of the vocabulary."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

_LENGTHS: Final = (1, 2, 7, 16, 33)
_SEED: Final = 7
_LONGEST: Final = 1024  # beyond this many positions no prompt goes, also where the embedding changes beyond them


@dataclass(frozen=True, slots=True)
class Prompt:
    name: str
    tokens: tuple[int, ...]


def make_prompts(vocab_size: int, window: int | None = None, beyond: int | None = None) -> tuple[Prompt, ...]:
    """The same at every call.

    Args:
        window: positions that attention looks back; engines get it when they are run, so no prompt is longer.
        beyond: positions after which the rotary embedding changes; a prompt goes there if it is not too far.
    """
    chance = random.Random(_SEED)  # noqa: S311 - nothing secret
    lengths = (*_LENGTHS, beyond + 8) if beyond is not None and beyond + 8 <= _LONGEST else _LENGTHS
    limit = window or _LONGEST
    prompts = [
        Prompt("random", tuple(chance.randrange(vocab_size) for _ in range(min(length, limit)))) for length in lengths
    ]
    last = vocab_size - 1
    prompts += [Prompt("first id", (0,) * min(4, limit)), Prompt("last id", (last,) * min(4, limit))]
    return (*prompts, Prompt("first and last ids", ((0, last, min(1, last), max(0, last - 1)) * 3)[:limit]))


def padded(prompts: tuple[Prompt, ...]) -> torch.Tensor:
    """[prompts, positions], filled up at the end, where causal attention keeps it from everything before."""
    import torch

    length = max(len(prompt.tokens) for prompt in prompts)
    return torch.tensor([prompt.tokens + (0,) * (length - len(prompt.tokens)) for prompt in prompts])
