"""Cancellations that overtake their request: a client may give up while the request is still in `preprocess`."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

# More requests than this are never between `preprocess` and the engine; older entries have no request to wait for.
CAPACITY: Final = 4096


class Tombstones:
    """Remembers ids that were stopped before they came, and ids that ended, so that a late stop buries nothing."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._buried: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()

    def bury(self, request_id: str) -> None:
        """Note a stop for an id that is not live; one that has just ended is over already."""
        if self._ended.pop(request_id, "absent") == "absent":
            self._remember(self._buried, request_id)

    def take(self, request_id: str) -> bool:
        """Whether the arriving request was stopped before; forgets it."""
        return self._buried.pop(request_id, "absent") is None

    def ended(self, request_id: str) -> None:
        self._remember(self._ended, request_id)

    def _remember(self, entries: OrderedDict[str, None], request_id: str) -> None:
        entries[request_id] = None
        if len(entries) > self._capacity:
            entries.popitem(last=False)
