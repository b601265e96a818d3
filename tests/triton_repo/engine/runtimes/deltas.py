"""What a runtime answers, whole."""

from __future__ import annotations

from collections.abc import Sequence

from triton_repo.engine.runtimes.runtime import Runtime, TokenDelta


def drain(runtime: Runtime) -> list[TokenDelta]:
    """All that comes until it has no work left."""
    deltas: list[TokenDelta] = []
    while runtime.idle_s() is not None:
        deltas += runtime.step()
    return deltas


def ids_of(deltas: Sequence[TokenDelta], key: int) -> list[int]:
    """The tokens of one generation."""
    return [id for delta in deltas if delta.key == key for id in delta.token_ids]
