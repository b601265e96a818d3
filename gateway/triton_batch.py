"""Requests that wait together, as few requests to Triton: a request costs its ensemble as much as a short answer."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateway.backend import Generation
from gateway.triton_wire import kind
from triton_repo.tensors import MAX_ROWS


@dataclass(frozen=True, slots=True)
class Ask:
    """A generation whose deltas are to come on `channel`."""

    generation: Generation
    channel: str


def batches(asks: Iterable[Ask]) -> Iterator[Sequence[Ask]]:
    """The same asks, those that may be rows of one request together; in the order of the first of each."""
    alike: dict[Hashable, list[Ask]] = {}
    for ask in asks:
        alike.setdefault((ask.channel, kind(ask.generation)), []).append(ask)
    for group in alike.values():
        for start in range(0, len(group), MAX_ROWS):
            yield group[start : start + MAX_ROWS]
