"""The connections of one process: how many there may be, and which has to go for another.

A connection that no request is on costs its client nothing. So as many as there may be are never a reason to turn one
away: the one that has been idle longest is closed for it. Where all of them are busy, a few more are let in, for
health checks alone: a supervisor takes the silence of this process for a hang.
"""

from __future__ import annotations

import resource
from typing import Any, Final

KEPT_FOR_HEALTH: Final = 32
ONLY_HEALTH: Final = "conch.only_health"  # of a scope: its connection is one of these

_OTHER_FILES: Final = 96  # listeners, the channel to Triton, logs, pipes; and connections that end


class Connections:
    """Those of one process. A connection is any object with an `abort` method."""

    def __init__(self, max_connections: int) -> None:
        self._max = max_connections
        self._open: set[Any] = set()  # without those that were closed for another
        self._idle: dict[Any, None] = {}  # the one that has been idle longest first

    def add(self, connection: Any) -> bool:
        """Add one, which is idle. False if it is one too many, and gets no answer but to health checks."""
        self._open.add(connection)
        self._idle[connection] = None
        if len(self._open) > self._max:
            longest_idle = next(iter(self._idle))
            if longest_idle is not connection or len(self._open) > self._max + KEPT_FOR_HEALTH:
                self.remove(longest_idle)
                longest_idle.abort()
        return len(self._open) <= self._max

    def remove(self, connection: Any) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def set_busy(self, connection: Any) -> None:
        """A request is on it, whose head is complete."""
        self._idle.pop(connection, None)

    def set_idle(self, connection: Any) -> None:
        self._idle[connection] = None


def raise_file_limit() -> int:
    """Let the process have as many open files as it may; how many of them can be connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return max(1, most - KEPT_FOR_HEALTH - _OTHER_FILES) if most != resource.RLIM_INFINITY else 2**31
