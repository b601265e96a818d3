"""Notices a server that runs but does not answer: it hangs, or something else told it to stop and it cannot end.

Triton 2.51 that gets a SIGTERM while streams are open closes its ports, waits for its exit timeout and then hangs in
its own clean-up; the streams would never end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from launch.health.faults import Fault
from triton_repo.contract.health.liveness import Silence
from triton_repo.contract.http_probe import http_status

POLL_S: Final = 1.0
_PROBE_S: Final = 1.0
_LONGEST_LOOK_S: Final = 5.0


class AnswerWatch:
    """Asks a server that is ready at `url`; every answer counts, whatever its status. An empty url is never asked.

    Args:
        max_silence_s: the longest that a server may need for an answer which has other things to do.
        frozen_s: the longest for one that does nothing: `cpu_time` has stayed the same.
    """

    def __init__(self, url: str, max_silence_s: float, frozen_s: float, cpu_time: Callable[[], int]) -> None:
        self._url = url
        self._max_silence_s = max_silence_s
        self._frozen_s = frozen_s
        self._cpu_time = cpu_time
        self._answered = 0
        self._answers = Silence(_LONGEST_LOOK_S)
        self._lives = Silence(_LONGEST_LOOK_S)
        self._asked_s = time.monotonic()

    async def find_fault(self) -> Fault | None:
        """That there was no answer for too long."""
        if not self._url or time.monotonic() < self._asked_s + POLL_S:
            return None
        self._asked_s = time.monotonic()
        if await asyncio.to_thread(http_status, self._url, _PROBE_S) is not None:
            self._answered += 1
        now_s = time.monotonic()
        silent_s = self._answers.look(self._answered, now_s)
        frozen_s = self._lives.look((self._answered, self._cpu_time() if silent_s else 0), now_s)
        if silent_s >= self._max_silence_s or frozen_s >= self._frozen_s:
            return Fault(f"it has not answered for {silent_s:.0f} s")
        return None
