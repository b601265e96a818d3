"""A key that asks a little beside one that asks 50 times as much, on an engine whose time is counted in steps."""

from __future__ import annotations

import asyncio
from collections import deque
from statistics import quantiles

import pytest

from gateway.admission import shares
from gateway.admission.admission import Admission
from gateway.admission.estimate import Prompt
from gateway.admission.tally import Tally
from gateway.admission.terms import Capacity, Terms
from gateway.admission.ticket import Ticket
from gateway.answers.in_flight import capacity_of
from triton_repo.contract.model_card import ModelCard

BATCH, TOKENS, STEPS = 16, 32, 6000
EVERY = 20  # steps between two requests of the quiet key; the noisy one asks 50 times as often


class Engine:
    """First come, first served; of its batch each sequence has a token at each step.

    A step takes one millisecond, and `more_ms` for each sequence but the first.
    """

    def __init__(self, more_ms: float = 0.0) -> None:
        self.queue: deque[Ticket] = deque()
        self.batch: dict[Ticket, int] = {}
        self.now_ms = 0.0
        self._more_ms = more_ms

    def step(self) -> list[Ticket]:
        self.now_ms += 1 + self._more_ms * max(0, len(self.batch) - 1)
        while self.queue and len(self.batch) < BATCH:
            self.batch[self.queue.popleft()] = TOKENS
        for ticket in self.batch:
            self.batch[ticket] -= 1
        return [ticket for ticket, left in self.batch.items() if not left]


async def waits(max_key_share: float, num_noisy: int) -> tuple[list[int], float]:
    """How many steps each request of the quiet key was without a place in the batch; and how full the batch was."""
    admission, engine = Admission(60, Tally(), max_key_share), Engine()
    capacity, work = Capacity(BATCH, None, 2048), [(Prompt(0, 1), TOKENS)]
    waiting: list[Ticket] = []
    came: dict[Ticket, int] = {}
    begun: list[int] = []
    held = 0
    for step in range(STEPS):
        asked = [Terms("noisy")] * num_noisy if admission.num_waiting < 2 * BATCH else []
        asked += [Terms("quiet")] * (step % EVERY == 0)
        for terms in asked:
            [ticket] = admission.enter("demo", capacity, terms, work)
            waiting.append(ticket)
            if terms.flow == "quiet":
                came[ticket] = step
        for ended in engine.step():
            del engine.batch[ended]
            ended.free()
        engine.queue += [ticket for ticket in waiting if not ticket.waits]
        waiting = [ticket for ticket in waiting if ticket.waits]
        held += len(engine.batch)
        begun += [step - came.pop(ticket) for ticket in [*engine.batch] if ticket in came]
    return begun, held / STEPS / BATCH


@pytest.mark.parametrize(("share", "most_p95", "least_full"), [(1.0, 40, 0.9), (0.75, 2, 0.7), (0.25, 2, 0.2)])
def test_a_key_that_leaves_room_lets_anothers_requests_begin_at_once(
    share: float, most_p95: int, least_full: float
) -> None:
    begun, full = asyncio.run(waits(share, num_noisy=3))
    assert quantiles(begun, n=20)[-1] <= most_p95
    assert full >= least_full


async def times_ms(max_key_share: float | None, num_noisy: int) -> tuple[list[float], float]:
    """How long each request of the quiet key took, and the tokens per ms, on the runtime that computes on a CPU.

    A step of 16 sequences takes four times as long as of one, as measured with the demo.
    """
    card = ModelCard(2048, "openvino", max_batch_size=BATCH)
    admission, engine = Admission(60, Tally(), max_key_share), Engine(more_ms=0.2)
    waiting: list[Ticket] = []
    came_ms: dict[Ticket, float] = {}
    took_ms: list[float] = []
    num_ended, next_ms = 0, 0.0
    while engine.now_ms < 20_000:
        asked = [Terms("noisy")] * num_noisy if admission.num_waiting < 2 * BATCH else []
        if engine.now_ms >= next_ms:
            asked, next_ms = [*asked, Terms("quiet")], next_ms + 150
        for terms in asked:
            [ticket] = admission.enter("demo", capacity_of(card), terms, [(Prompt(0, 1), TOKENS)])
            waiting.append(ticket)
            if terms.flow == "quiet":
                came_ms[ticket] = engine.now_ms
        engine.queue += [ticket for ticket in waiting if not ticket.waits]
        waiting = [ticket for ticket in waiting if ticket.waits]
        for ended in engine.step():
            del engine.batch[ended]
            ended.free()
            num_ended += 1
            if ended in came_ms:
                took_ms.append(engine.now_ms - came_ms.pop(ended))
    return took_ms, num_ended * TOKENS / engine.now_ms


def test_where_steps_take_longer_with_each_sequence_a_key_leaves_more_room_by_default() -> None:
    alone_ms, _ = asyncio.run(times_ms(None, num_noisy=0))
    beside_ms, rate = asyncio.run(times_ms(None, num_noisy=3))
    beside_full_ms, full_rate = asyncio.run(times_ms(0.75, num_noisy=3))
    alone, beside, beside_full = (quantiles(each, n=20)[-1] for each in (alone_ms, beside_ms, beside_full_ms))
    assert beside <= 2 * alone
    assert beside_full > 3 * alone
    assert rate >= 0.6 * full_rate


def test_a_key_has_the_whole_engine_once_the_others_have_not_asked_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_MIXED_S", 0.01)

    async def run() -> None:
        admission, capacity, work = Admission(60, Tally(), 0.5), Capacity(8, None, 2048), [(Prompt(0, 1), TOKENS)]
        [quiet] = admission.enter("demo", capacity, Terms("quiet"), work)
        for _ in range(8):
            admission.enter("demo", capacity, Terms("noisy"), work)
        quiet.free()
        async with asyncio.timeout(60):
            while admission.num_waiting:  # though none of its own ends
                await asyncio.sleep(0.01)

    asyncio.run(run())


def test_a_key_alone_has_the_whole_engine() -> None:
    _, full = asyncio.run(waits(0.25, num_noisy=0))
    assert full < 0.2
