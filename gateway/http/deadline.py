"""How long a client may take to send a body."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from gateway.http.errors import BodyTimeout
from gateway.http.interrupt import Interruptible

_TICKS: Final = 10  # looks at the clock within one time-out


class BodyDeadline:
    """Interrupts what has been reading for `timeout_s`, at the latest a tenth of that later.

    One clock for all: a timer for each costs as much as to parse a short body.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._began_s: dict[Interruptible, float] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._timeout_s / _TICKS)
            overdue_s = time.monotonic() - self._timeout_s
            for reading, began_s in self._began_s.items():
                if began_s <= overdue_s:
                    reading.interrupt(BodyTimeout(f"the request body did not arrive within {self._timeout_s:g} s"))

    def start(self, reading: Interruptible) -> None:
        self._began_s[reading] = time.monotonic()

    def stop(self, reading: Interruptible) -> None:
        del self._began_s[reading]
