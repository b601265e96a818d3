"""A table of factors that no rope scaling gives is rejected, however its numbers fall."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from build_scripts.weights.gguf.rope import _llama3
from triton_repo.contract.errors import BuildError

FACTORS = st.floats(width=32) | st.floats(1, 64, width=32)


@given(st.lists(FACTORS, min_size=1, max_size=8), st.floats(1e-30, 1e30) | st.just(1.0) | st.floats(1, 1 + 1e-9))
@settings(max_examples=300, deadline=None)
def test_any_table_is_rope_scaling_or_is_rejected(table: list[float], theta: float) -> None:
    try:
        found = _llama3(table, 2 * len(table), theta, "x.gguf")
    except BuildError:
        return
    assert found is None or all(math.isfinite(value) for value in found.values() if not isinstance(value, str))
