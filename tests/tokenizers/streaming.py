"""Streams the tokens of texts as the engine sends them, in several chunkings, and compares with decoding them whole."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from tokenizers import Tokenizer

from triton_repo.contract.tensors import MAX_CONTEXT_IDS
from triton_repo.detokenize.detokenizer import Detokenizer, make_detokenizer

_CHUNKS: Final = (1, 2, 3, 5, MAX_CONTEXT_IDS, 17)  # tokens of a delta
_RANDOM: Final = 2  # chunkings of deltas of other lengths each, empty ones too
_BROKEN: Final = "\ufffd"


@dataclass(frozen=True, slots=True)
class Difference:
    """A stream that is not what the whole decodes to, or has half a character that the whole has not."""

    cuts: Sequence[int]
    whole: str
    deltas: Sequence[str]


def stream(detokenizer: Detokenizer, ids: list[int], cuts: Sequence[int]) -> list[str]:
    """The deltas of `ids` as the engine sends them: each with the window of ids before it."""
    bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    deltas = []
    for index, (start, end) in enumerate(pairwise(bounds)):
        window = ids[max(0, start - MAX_CONTEXT_IDS) : start]
        final = index == len(bounds) - 2
        deltas.append(detokenizer.delta([*window, *ids[start:end]], len(window), final))
    return deltas


class Comparison:
    """One tokenizer, and how many streams it has been tried with."""

    def __init__(self, tokenizer: Tokenizer, seed: int = 3) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = make_detokenizer(tokenizer)
        self._draw = random.Random(seed)
        self.streams = 0

    @property
    def kind(self) -> str:
        return type(self._detokenizer).__name__.removesuffix("Detokenizer")

    def differences(self, ids: list[int]) -> Iterator[Difference]:
        """Over all chunkings of `ids`."""
        whole = self._tokenizer.decode(ids, skip_special_tokens=True)
        for cuts in self._chunkings(len(ids)):
            self.streams += 1
            deltas = stream(self._detokenizer, ids, cuts)
            if "".join(deltas) != whole or (_BROKEN not in whole and any(_BROKEN in delta for delta in deltas)):
                yield Difference(cuts, whole, deltas)

    def _chunkings(self, length: int) -> Iterator[Sequence[int]]:
        yield ()
        for size in _CHUNKS:
            yield range(size, length, size)
        for _ in range(_RANDOM):
            lengths = (self._draw.randrange(4) for _ in range(length))
            yield [cut for cut in accumulate(lengths) if cut < length]
