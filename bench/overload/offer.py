"""One load on one server, from a process of its own, so that what asks for health does not wait behind its chunks."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from bench.load.answer import Record
from bench.load.connection import Target
from bench.load.distribution import Fixed
from bench.load.generator import Bounds, ClosedLoop, Loop, OpenLoop
from bench.load.priority import go_first
from bench.load.run import Plan, execute, measure
from bench.load.workload import Workload


@dataclass(frozen=True, slots=True)
class Load:
    """Requests for `tokens` tokens each, for so many seconds.

    `rate` a second as a Poisson process, or `concurrency` at a time.
    """

    target: Target
    model: str
    tokens: int
    seconds: float
    rate: float | None = None
    concurrency: int = 0

    @property
    def loop(self) -> Loop:
        return ClosedLoop(self.concurrency) if self.rate is None else OpenLoop(self.rate)


@dataclass(frozen=True, slots=True)
class Offered:
    """What came of it, from `start_s` on for `seconds`; `client_cpu` is the share of a core that asking took."""

    records: Sequence[Record]
    start_s: float
    seconds: float
    client_cpu: float


def offer(load: Load) -> Offered:
    workload = Workload(load.model, Fixed(32), Fixed(load.tokens), ignore_eos=True, temperature=0)
    plan = Plan(load.target, workload, Bounds(duration_s=load.seconds), timeout_s=120)
    result = execute(measure(plan, load.loop))
    start_s = min(record.start_s for record in result.records)
    return Offered(result.records, start_s, load.seconds, result.client_cpu_s / load.seconds)


@contextmanager
def offering(*loads: Load) -> Iterator[list[Future[Offered]]]:
    """The loads at the same time, each from a process of its own."""
    with ProcessPoolExecutor(len(loads), multiprocessing.get_context("spawn")) as processes:
        list(processes.map(_warm, range(len(loads))))
        yield [processes.submit(offer, load) for load in loads]


def _warm(_: int) -> int:
    """So that all processes are there, with their imports, before the first request."""
    go_first()
    return os.getpid()
