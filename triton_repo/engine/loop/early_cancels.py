"""Cancellations that arrive before their request: a client may give up while its request is still in `preprocess`."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

# More requests than this are never between `preprocess` and the engine: an older cancellation has none to wait for.
CAPACITY: Final = 4096
# Nor is a request that long on its way: the next one of that id is another, or its request was rejected before.
LIFETIME_S: Final = 60.0


class EarlyCancels:
    """Remembers ids that were cancelled before they arrived.

    It also remembers ids that have ended, so that a late cancellation does not hit the next request of that id. Both
    for `LIFETIME_S`.
    """

    def __init__(self, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        # Id -> until when it is remembered.
        self._cancelled: OrderedDict[str, float] = OrderedDict()
        self._ended: OrderedDict[str, float] = OrderedDict()

    def add(self, request_id: str) -> None:
        """Note the cancellation of an id that is not live. If that id has just ended, there is nothing to note."""
        if not self._forget(self._ended, request_id):
            self._remember(self._cancelled, request_id)

    def take(self, request_id: str) -> bool:
        """Whether the arriving request was cancelled before; forgets it."""
        return self._forget(self._cancelled, request_id)

    def ended(self, name: str) -> None:
        """Note that a request or a channel has ended."""
        self._remember(self._ended, name)

    def _remember(self, entries: OrderedDict[str, float], name: str) -> None:
        entries[name] = self._clock() + LIFETIME_S
        entries.move_to_end(name)
        if len(entries) > self._capacity:
            entries.popitem(last=False)

    def _forget(self, entries: OrderedDict[str, float], name: str) -> bool:
        """Whether the id was still remembered."""
        return entries.pop(name, float("-inf")) > self._clock()
