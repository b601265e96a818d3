"""Which tokens of a prompt were in the KV cache already."""

from __future__ import annotations

from itertools import takewhile

TOKENS_PER_BLOCK = 32


class PrefixCache:
    def __init__(self, reuses: bool) -> None:
        self._reuses = reuses
        self._prompts: list[tuple[str | None, list[int]]] = []

    def take(self, prompt: list[int], salt: str | None) -> int:
        """How many tokens of `prompt` are there, in whole blocks; all of it is from now on."""
        others = [other for of, other in self._prompts if of == salt] if self._reuses else []
        self._prompts.append((salt, prompt))
        longest = max((_common(prompt, other) for other in others), default=0)
        return min(longest, len(prompt) - 1) // TOKENS_PER_BLOCK * TOKENS_PER_BLOCK


def _common(one: list[int], other: list[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
