"""Who may enter a pipeline that must never run short of cache: what runs is bounded, the rest waits outside."""

from __future__ import annotations


class Admission:
    """Bounds what runs at once, in sequences and in blocks of the paged KV cache that they may come to need."""

    def __init__(self, max_sequences: int, num_blocks: int) -> None:
        self._max_sequences = max_sequences
        self._num_blocks = num_blocks
        self._held: dict[int, int] = {}

    def admit(self, key: int, num_blocks: int) -> bool:
        """Whether the sequence may run now; if so, it holds `num_blocks` until it is released.

        One that alone is larger than the cache runs when nothing else does: to refuse it is the pipeline's affair.
        """
        full = len(self._held) == self._max_sequences or sum(self._held.values()) + num_blocks > self._num_blocks
        if self._held and full:
            return False
        self._held[key] = num_blocks
        return True

    def release(self, key: int) -> None:
        """Give back what the sequence holds; one that holds nothing is no error."""
        self._held.pop(key, None)
