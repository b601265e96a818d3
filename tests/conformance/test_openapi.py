"""The API is what its own description says, for requests that nobody here wrote."""

from __future__ import annotations

import pytest

from tests.conformance.openapi import fuzz


@pytest.mark.conformance
def test_no_request_made_from_the_description_gets_an_answer_that_is_not_in_it() -> None:
    assert fuzz(examples=30, seed=1) == 0
