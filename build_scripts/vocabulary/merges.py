"""The merges of a BPE vocabulary that says only in which order its pieces come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from build_scripts.vocabulary.limits import MAX_PIECE
from triton_repo.contract.errors import BuildError


def merges_of(ranks: Mapping[str, float], vocabulary: Mapping[str, int], where: str) -> Sequence[tuple[str, str]]:
    """Every way to make a ranked piece out of two pieces of the vocabulary, lowest rank first.

    Of pieces with the same rank (files that other programs wrote have one score for all) the lower id is first.

    Raises:
        BuildError: a piece is longer than any vocabulary's; `where` begins it.
    """
    longest = max(ranks, key=len, default="")
    if len(longest) > MAX_PIECE:
        raise BuildError(f"{where}: {longest!r:.40}… has {len(longest)} characters; must be ≤ {MAX_PIECE}")
    found = [
        (rank, vocabulary[text], vocabulary[text[:cut]], vocabulary[text[cut:]], text, cut)
        for text, rank in ranks.items()
        for cut in range(1, len(text))
        if text[:cut] in vocabulary and text[cut:] in vocabulary
    ]
    return [(text[:cut], text[cut:]) for *_, text, cut in sorted(found)]
