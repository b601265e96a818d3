"""The orders that a server without engines is given."""

from __future__ import annotations

import pytest

from triton_repo.contract.health.model_orders import Order


@pytest.fixture(scope="module")
def all_taken() -> list[Order]:
    return []


@pytest.fixture
def taken(all_taken: list[Order]) -> list[Order]:
    """The orders of one test."""
    all_taken.clear()
    return all_taken
