"""A guide is read by its library once, as long as it is remembered."""

from __future__ import annotations

import pytest

from tests.triton_repo.engine.guides.gated_reader import GatedReader
from triton_repo.contract.errors import InvalidRequest
from triton_repo.engine.guides.prover import GuideProver


def test_a_guide_is_proved_once_and_an_unreadable_one_read_again() -> None:
    reader = GatedReader()
    reader.gate.set()
    prover = GuideProver(reader, max_proved=2)
    for _ in range(3):
        prover.prove("regex", "a")
        prover.prove("ebnf_grammar", "a")
        with pytest.raises(InvalidRequest):
            prover.prove("regex", "bad")
    assert reader.read == ["a", "a", "bad", "bad", "bad"]


def test_the_guide_that_was_asked_for_longest_ago_is_forgotten_first() -> None:
    reader = GatedReader()
    reader.gate.set()
    prover = GuideProver(reader, max_proved=2)
    for guide in ("a", "b", "a", "c", "a", "b"):
        prover.prove("regex", guide)
    assert reader.read == ["a", "b", "c", "b"]
