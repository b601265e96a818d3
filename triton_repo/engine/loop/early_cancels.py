"""Cancellations that arrive before their request: a client may give up while its request is still in `preprocess`."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

# More requests than this are never between `preprocess` and the engine: an older cancellation has none to wait for.
CAPACITY: Final = 4096


class EarlyCancels:
    """Remembers ids that were cancelled before they arrived.

    It also remembers ids that have ended, so that a late cancellation does not hit the next request of that id.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()

    def add(self, request_id: str) -> None:
        """Note the cancellation of an id that is not live. If that id has just ended, there is nothing to note."""
        if self._ended.pop(request_id, "absent") == "absent":
            self._remember(self._cancelled, request_id)

    def take(self, request_id: str) -> bool:
        """Whether the arriving request was cancelled before; forgets it."""
        return self._cancelled.pop(request_id, "absent") is None

    def ended(self, request_id: str) -> None:
        """Note that a request has ended."""
        self._remember(self._ended, request_id)

    def _remember(self, entries: OrderedDict[str, None], request_id: str) -> None:
        entries[request_id] = None
        if len(entries) > self._capacity:
            entries.popitem(last=False)
