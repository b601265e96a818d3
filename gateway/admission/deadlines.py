"""What has to be over by a time of its own: one timer for all, since one for each costs as much as to parse a body."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable
from typing import Final

_FEW: Final = 64


class Deadline:
    """`cancel` it when what it is about has ended."""

    __slots__ = ("_deadlines", "expire")

    def __init__(self, deadlines: Deadlines, expire: Callable[[], None]) -> None:
        self._deadlines = deadlines
        self.expire: Callable[[], None] | None = expire

    def cancel(self) -> None:
        if self.expire is not None:
            self.expire = None
            self._deadlines.forget_one()


class Deadlines:
    """Times are on the clock of the event loop, which is `time.monotonic`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Deadline]] = []
        self._numbers = itertools.count()
        self._num_forgotten = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = math.inf  # uvloop's handle of what is due already does not know its time

    def add(self, when_s: float, expire: Callable[[], None]) -> Deadline:
        """`expire` is called then, unless the deadline is cancelled before."""
        deadline = Deadline(self, expire)
        heapq.heappush(self._heap, (when_s, next(self._numbers), deadline))
        if self._timer is None or when_s < self._timer_s:
            self._arm()
        return deadline

    def close(self) -> None:
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def forget_one(self) -> None:
        """One was cancelled. They are removed together, or a long deadline would keep what has ended for its length."""
        self._num_forgotten += 1
        if self._num_forgotten > _FEW + len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].expire is not None]
            heapq.heapify(self._heap)
            self._num_forgotten = 0

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = self._heap[0][0]
        self._timer = asyncio.get_running_loop().call_at(self._timer_s, self._run)

    def _run(self) -> None:
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        while self._heap and (self._heap[0][0] <= now_s or self._heap[0][2].expire is None):
            deadline = heapq.heappop(self._heap)[2]
            expire, deadline.expire = deadline.expire, None
            if expire is not None:
                expire()
            else:
                self._num_forgotten -= 1
        if self._heap and self._timer is None:
            self._arm()
