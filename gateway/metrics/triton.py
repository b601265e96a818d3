"""Triton's own metrics, read from its metrics port: bounded in size and time, and nothing at all where it is gone."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping, Sequence
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


class AllTritonMetrics:
    """Those of the servers at `addresses` (HOST:PORT). Used inside one event loop."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._servers = {address: TritonMetrics(address) for address in addresses}

    async def families(self) -> Mapping[str, Sequence[Metric]]:
        """By address, with a label `server` where there are several; a server that cannot be read has none."""
        every = await asyncio.gather(*(server.families() for server in self._servers.values()))
        read = dict(zip(self._servers, every, strict=True))
        return read if len(read) == 1 else {address: _labelled(read[address], address) for address in read}


class TritonMetrics:
    """The families of the server at `address`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._families: Sequence[Metric] = ()
        self._read_s = float("-inf")
        self._reading = asyncio.Lock()
        self._failed = False

    async def families(self) -> Sequence[Metric]:
        """Empty where they cannot be read; why is logged once."""
        async with self._reading:
            if time.monotonic() - self._read_s >= _REUSE_S:
                self._families = await self._read()
                self._read_s = time.monotonic()
        return self._families

    async def _read(self) -> Sequence[Metric]:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                text = await _get(self._address, "/metrics")
            families = await asyncio.to_thread(_parsed, text)  # a page of 2 MiB takes most of a second
        except (OSError, ValueError, LookupError) as error:  # TimeoutError is an OSError; the parser raises the others
            if not self._failed:
                logger.warning("Triton's metrics at %s cannot be read: %s", self._address, str(error) or "timeout")
            self._failed = True
            return ()
        self._failed = False
        return families


def _parsed(text: str) -> Sequence[Metric]:
    return list(text_string_to_metric_families(_COUNTER.sub(r"# TYPE \1 untyped", text)))


def _labelled(families: Sequence[Metric], address: str) -> list[Metric]:
    labelled = []
    for family in families:
        copy = Metric(family.name, family.documentation, family.type)
        copy.samples = [sample._replace(labels={**sample.labels, "server": address}) for sample in family.samples]
        labelled.append(copy)
    return labelled


async def _get(address: str, path: str) -> str:
    """The body of a response with status 200.

    Raises:
        OSError: nothing answers, or not in time.
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
