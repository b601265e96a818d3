"""When requests are sent: so many at a time (closed loop), or at arrival times of their own (open loop)."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from bench.load.answer import Record
from triton_repo.contract.errors import BenchError

# Sends one request that was due at a time of `time.perf_counter`, and gives its record.
Ask = Callable[[bytes, float], Coroutine[Any, Any, Record]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long requests are sent; those that are under way at the end are still read to their own end."""

    requests: int | None = None
    duration_s: float | None = None

    def __post_init__(self) -> None:
        if self.requests is None and self.duration_s is None:
            raise BenchError("--requests or --duration is required: a run has to end")


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """`concurrency` clients; each sends its next request as soon as its last one is answered."""

    concurrency: int

    @property
    def name(self) -> str:
        return f"{self.concurrency} at a time"

    async def run(self, ask: Ask, bodies: Iterator[bytes], bounds: Bounds) -> list[Record]:
        records: list[Record] = []
        end_s = time.perf_counter() + (bounds.duration_s or math.inf)
        started = 0

        async def client() -> None:
            nonlocal started
            while (bounds.requests is None or started < bounds.requests) and time.perf_counter() < end_s:
                started += 1
                body = next(bodies)
                records.append(await ask(body, time.perf_counter()))

        await asyncio.gather(*(client() for _ in range(self.concurrency)))
        return records


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests arrive as a Poisson process, `rate` a second, however slow the server is.

    A request counts from when it was due, not from when the client came to send it: else a server that stalls would
    hide its stalls ("coordinated omission").
    """

    rate: float
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.rate:g} / s"

    def arrivals_s(self) -> Iterator[float]:
        """Arrival times from 0 on, without end; the same for the same seed."""
        random = Random(self.seed)  # noqa: S311 - repeatable is what it must be
        now_s = 0.0
        while True:
            now_s += random.expovariate(self.rate)
            yield now_s

    async def run(self, ask: Ask, bodies: Iterator[bytes], bounds: Bounds) -> list[Record]:
        start_s = time.perf_counter()
        asked = [asyncio.create_task(ask(next(bodies), due_s)) async for due_s in self._due(start_s, bounds)]
        return list(await asyncio.gather(*asked))

    async def _due(self, start_s: float, bounds: Bounds) -> AsyncIterator[float]:
        for index, arrival_s in enumerate(self.arrivals_s()):
            if index == bounds.requests or arrival_s > (bounds.duration_s or math.inf):
                return
            await asyncio.sleep(start_s + arrival_s - time.perf_counter())
            yield start_s + arrival_s


Loop = ClosedLoop | OpenLoop
