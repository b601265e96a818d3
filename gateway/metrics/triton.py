"""Triton's own metrics, read from its metrics port: bounded in size and time, and nothing at all where it is gone."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from typing import Final

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 0.5  # Triton answers within milliseconds
_MAX_BYTES: Final = 2 * 2**20
_REUSE_S: Final = 0.2  # the engines themselves report ten times a second
# Most of Triton's counters do not end in _total, which OpenMetrics wants of one: the parser would rename them.
_COUNTER: Final = re.compile(r"^# TYPE (\S+)(?<!_total) counter$", re.MULTILINE)
_OK: Final = (b"HTTP/1.0 200", b"HTTP/1.1 200")


class TritonMetrics:
    """The families of the server at `address` (HOST:PORT), empty without one. Used inside one event loop."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._families: Sequence[Metric] = ()
        self._read_s = float("-inf")
        self._reading = asyncio.Lock()
        self._failed = False

    @property
    def is_known(self) -> bool:
        return bool(self._address)

    async def families(self) -> Sequence[Metric]:
        """Empty where they cannot be read; why is logged once."""
        if not self._address:
            return ()
        async with self._reading:
            if time.monotonic() - self._read_s >= _REUSE_S:
                self._families = await self._read()
                self._read_s = time.monotonic()
        return self._families

    async def _read(self) -> Sequence[Metric]:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                text = await _get(self._address, "/metrics")
            families = list(text_string_to_metric_families(_COUNTER.sub(r"# TYPE \1 untyped", text)))
        except (OSError, ValueError, EOFError) as error:  # TimeoutError is an OSError
            if not self._failed:
                logger.warning("Triton's metrics at %s cannot be read: %s", self._address, str(error) or "timeout")
            self._failed = True
            return ()
        self._failed = False
        return families


async def _get(address: str, path: str) -> str:
    """The body of a response with status 200.

    Raises:
        OSError, EOFError: nothing answers, or not in full.
        ValueError: the answer is another one, or too large.
    """
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), limit=1 << 16)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        answer = bytearray()
        while chunk := await reader.read(1 << 16):
            answer += chunk
            if len(answer) > _MAX_BYTES:
                raise ValueError(f"they are larger than {_MAX_BYTES} bytes")
    finally:
        writer.close()
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    if not head.startswith(_OK):
        raise ValueError(f"the answer begins with {head[:40]!r}")
    return body.decode()
