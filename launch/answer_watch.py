"""Notices a server that runs but does not answer: it hangs, or something else told it to stop and it cannot end.

Triton 2.51 that gets a SIGTERM while streams are open closes its ports, waits for its exit timeout and then hangs in
its own clean-up; the streams would never end.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from triton_repo.contract.http_probe import http_status

POLL_S: Final = 2.0


class AnswerWatch:
    """Asks a server that is ready at `url`; every answer counts, whatever its status. An empty url is never asked."""

    def __init__(self, url: str, max_silence_s: float) -> None:
        self._url = url
        self._max_silence_s = max_silence_s
        self._answered_s = self._asked_s = time.monotonic()

    async def find_fault(self) -> str | None:
        """What is wrong, as the end of a sentence, once there was no answer for `max_silence_s`."""
        now_s = time.monotonic()
        if not self._url or now_s < self._asked_s + POLL_S:
            return None
        self._asked_s = now_s
        if await asyncio.to_thread(http_status, self._url) is not None:
            self._answered_s = time.monotonic()
            return None
        silent_s = time.monotonic() - self._answered_s
        return f"it has not answered for {silent_s:.0f} s" if silent_s >= self._max_silence_s else None
