from __future__ import annotations

import asyncio
import itertools
import time
from itertools import islice, pairwise

import pytest

from bench.load.answer import Record
from bench.load.generator import Bounds, ClosedLoop, OpenLoop
from triton_repo.contract.errors import BenchError


class Service:
    """Answers each request after a moment, or once so many are open; knows how many it answered at once."""

    def __init__(self, answers_at: int = 0) -> None:
        self._answers_at = answers_at
        self._open = 0
        self.most_open = 0
        self.bodies: list[bytes] = []

    async def ask(self, body: bytes, due_s: float) -> Record:
        self.bodies.append(body)
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        while self.most_open < self._answers_at:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        self._open -= 1
        return Record(due_s, time.perf_counter())


def numbered() -> itertools.chain[bytes]:
    return itertools.chain.from_iterable(([b"%d" % number]) for number in itertools.count())


@pytest.mark.asyncio
async def test_a_closed_loop_keeps_so_many_open_and_sends_each_body_once() -> None:
    service = Service()
    records = await ClosedLoop(4).run(service.ask, numbered(), Bounds(requests=30))
    assert len(records) == 30
    assert service.most_open == 4
    assert sorted(map(int, service.bodies)) == list(range(30))


@pytest.mark.asyncio
async def test_a_closed_loop_ends_with_its_duration_and_reads_what_is_under_way() -> None:
    service = Service()
    records = await ClosedLoop(2).run(service.ask, numbered(), Bounds(duration_s=0.05))
    assert len(records) == len(service.bodies)


@pytest.mark.asyncio
async def test_an_open_loop_sends_whatever_the_server_does() -> None:
    service = Service(answers_at=20)
    records = await OpenLoop(rate=2000).run(service.ask, numbered(), Bounds(requests=20))
    assert len(records) == service.most_open == 20


@pytest.mark.asyncio
async def test_a_request_of_an_open_loop_counts_from_when_it_was_due() -> None:
    loop = OpenLoop(rate=1e6, seed=3)
    records = await loop.run(Service().ask, numbered(), Bounds(requests=5))
    starts = [record.start_s for record in records]
    wanted = list(islice(loop.arrivals_s(), 5))
    assert [start - starts[0] for start in starts] == pytest.approx([due - wanted[0] for due in wanted], abs=1e-6)


@pytest.mark.asyncio
async def test_an_open_loop_ends_with_its_duration() -> None:
    loop = OpenLoop(rate=500, seed=1)
    wanted = sum(1 for _ in itertools.takewhile(lambda due: due <= 0.1, loop.arrivals_s()))
    assert len(await loop.run(Service().ask, numbered(), Bounds(duration_s=0.1))) == wanted


def test_arrivals_are_a_poisson_process_and_the_same_for_the_same_seed() -> None:
    first, again, other = (list(islice(OpenLoop(50, seed).arrivals_s(), 4000)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    gaps = [later - earlier for earlier, later in pairwise(first)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.1)
    # Exponential gaps: their deviation is their mean.
    assert (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 == pytest.approx(mean, rel=0.1)


def test_a_run_without_an_end_is_refused() -> None:
    with pytest.raises(BenchError, match="--requests or --duration"):
        Bounds()
