"""The merges of a BPE vocabulary that says only in which order its pieces come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def merges_of(ranks: Mapping[str, float], vocabulary: Mapping[str, int]) -> Sequence[tuple[str, str]]:
    """Every way to make a ranked piece out of two pieces of the vocabulary, lowest rank first."""
    found = [
        (rank, vocabulary[text[:cut]], vocabulary[text[cut:]], text, cut)
        for text, rank in ranks.items()
        for cut in range(1, len(text))
        if text[:cut] in vocabulary and text[cut:] in vocabulary
    ]
    return [(text[:cut], text[cut:]) for *_, text, cut in sorted(found)]
