"""A guide is read by its library once, as long as it is remembered."""

from __future__ import annotations

import pytest

from tests.triton_repo.engine.guides.gated_prover import GatedProver
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.sampling import Guide
from triton_repo.engine.guides.queue import GuideValidator


def test_a_guide_is_proved_once_and_an_unreadable_one_read_again() -> None:
    prover = GatedProver()
    prover.gate.set()
    validator = GuideValidator(prover, max_remembered=2)
    for _ in range(3):
        validator.validate(Guide("regex", "a"))
        validator.validate(Guide("ebnf_grammar", "a"))
        with pytest.raises(InvalidRequest):
            validator.validate(Guide("regex", "bad"))
    assert prover.proved == ["a", "a", "bad", "bad", "bad"]


def test_the_guide_that_was_asked_for_longest_ago_is_forgotten_first() -> None:
    prover = GatedProver()
    prover.gate.set()
    validator = GuideValidator(prover, max_remembered=2)
    for guide in ("a", "b", "a", "c", "a", "b"):
        validator.validate(Guide("regex", guide))
    assert prover.proved == ["a", "b", "c", "b"]
