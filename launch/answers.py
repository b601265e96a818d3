"""Notices a server that runs on but answers nobody: it hangs, or was told to stop by somebody else and cannot end.

Triton 2.51 that gets a SIGTERM while streams are open closes its ports, waits for its exit timeout and then hangs in
its own clean-up; the streams would never end.
"""

from __future__ import annotations

import asyncio
import http.client
import time
from typing import Final
from urllib.parse import urlsplit

POLL_S: Final = 2.0


class AnswerWatch:
    """Asks a server that is ready at `url`; every answer counts, whatever its status. An empty url is never asked."""

    def __init__(self, url: str, patience_s: float) -> None:
        self._url = url
        self._patience_s = patience_s
        self._answered_s = self._asked_s = time.monotonic()

    async def find_fault(self) -> str | None:
        """What is wrong, as the end of a sentence, once there was no answer for `patience_s`."""
        now_s = time.monotonic()
        if not self._url or now_s < self._asked_s + POLL_S:
            return None
        self._asked_s = now_s
        if await asyncio.to_thread(http_status, self._url) is not None:
            self._answered_s = time.monotonic()
            return None
        silent_s = time.monotonic() - self._answered_s
        return f"it has not answered for {silent_s:.0f} s" if silent_s >= self._patience_s else None


def http_status(url: str, timeout_s: float = 2.0) -> int | None:
    """Status of a GET, without proxies; None where nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
