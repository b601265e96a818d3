"""Requests that wait together, as few requests to Triton: a request costs its ensemble as much as a short answer."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

from gateway.triton.wire import Row
from triton_repo.contract.tensors import MAX_ROWS


def batches(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    """The same rows, those of a kind together; in the order of the first of each."""
    alike: dict[Hashable, list[Row]] = {}
    for row in rows:
        alike.setdefault(row.kind, []).append(row)
    for group in alike.values():
        for start in range(0, len(group), MAX_ROWS):
            yield group[start : start + MAX_ROWS]
