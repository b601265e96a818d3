"""Inputs for a target: sound ones with parts replaced, and noise. From hypothesis, or from a seeded generator."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.target import TOKENS, VALUES, Edit, Target, edited, replaced

_MANY = (1, 1, 1, 2, 50)


def drawn(target: Target) -> st.SearchStrategy[bytes]:
    """For hypothesis, which finds a small one of those that fail."""
    content = st.sampled_from([*TOKENS, *target.tokens]) | st.binary(max_size=8)
    edit = st.builds(
        Edit,
        place=st.integers(0, max(map(len, target.seeds))),
        length=st.integers(0, 12),
        content=content,
        times=st.sampled_from(_MANY),
    )
    seeds = st.sampled_from(target.seeds)
    inputs = st.builds(edited, seeds, st.lists(edit, max_size=4)) | st.binary(max_size=64)
    if target.is_json:
        inputs |= st.builds(replaced, seeds, st.integers(0, 100), st.sampled_from([*VALUES, ...]))
    return inputs


def generated(target: Target, chance: random.Random) -> bytes:
    """A hundred times as fast; the state of `chance` alone decides."""
    if chance.random() < 0.02:
        return chance.randbytes(chance.randrange(200))
    seed = chance.choice(target.seeds)
    if target.is_json:
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            seed = replaced(seed, chance.randrange(100), chance.choice([*VALUES, ...]))
        if chance.random() < 0.7:
            return seed
    return edited(seed, [_edit(target, seed, chance) for _ in range(chance.choice((1, 1, 2, 3, 8)))])


def _edit(target: Target, seed: bytes, chance: random.Random) -> Edit:
    place = chance.randrange(len(seed) + 1)
    kind = chance.random()
    if kind < 0.25:  # one bit
        old = seed[place : place + 1] or b"\0"
        return Edit(place, 1, bytes([old[0] ^ 1 << chance.randrange(8)]))
    if kind < 0.35:  # a part of another input, or of the same elsewhere
        other: Any = chance.choice(target.seeds)
        start = chance.randrange(len(other) + 1)
        return Edit(place, chance.randrange(20), other[start : start + chance.randrange(40)], chance.choice(_MANY))
    if kind < 0.45:  # the end is missing
        return Edit(place, len(seed), b"")
    content = chance.choice([*TOKENS, *target.tokens]) if kind < 0.85 else chance.randbytes(chance.randrange(9))
    return Edit(place, chance.choice((0, 1, 1, 2, 4, 8, 20)), content, chance.choice(_MANY))
