"""The gate of one engine: what it can run goes in, a bounded queue waits in front, and more is rejected at once.

An engine's own queue is first come, first served, knows no keys, and hides how long it is. So the engine gets what fits
into its batch and its KV cache, and a little more, to go on with while the gateway hears that something has ended.

Processes of one gateway share the engine through counts of what each has sent it. Where several have something waiting,
each takes as much of the engine as the others. A share may be less than one request: those that run nothing then look
again at moments drawn at random, and the first to look takes what is free.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from gateway.admission.deadlines import Deadlines
from gateway.admission.drain_rate import DrainRate
from gateway.admission.errors import DeadlineExceeded, ServerOverloaded
from gateway.admission.estimate import Estimate, Prompt, Work
from gateway.admission.flows import FairQueue, Flow
from gateway.admission.shares import Shares
from gateway.admission.tally import Row, Tally
from gateway.admission.terms import Capacity, Policy, Terms
from gateway.admission.ticket import Place, Ticket

WAITING: Final = "waiting for any engine"

_UNMEASURED_BATCHES: Final = 4  # may wait before it is known how fast the engine is
_CAUTION: Final = 1.5  # a request may take that much longer than expected
_AGED: Final = 0.5  # of the longest wait: what is batch then has its turns with all others
_POLL_S: Final = 0.005  # how soon one process sees what another has freed


def waiting_for(tally: Tally, model: str) -> Row:
    """How many wait for an engine."""
    return tally.row(f"waiting for {model}")


class Gate:
    """Used inside one event loop."""

    def __init__(self, model: str, capacity: Capacity, policy: Policy, tally: Tally, deadlines: Deadlines) -> None:
        self.model = model
        self.estimate = Estimate(capacity.max_seq_len)
        self.queue_timeout_s = policy.queue_timeout_s
        self._deadlines = deadlines
        self._queues: tuple[FairQueue[Ticket], FairQueue[Ticket]] = (FairQueue(), FairQueue())  # the second is batch
        self._rate = DrainRate(min_ends=capacity.num_requests or 1)
        self._waiting = waiting_for(tally, model)
        self._all_waiting = tally.row(WAITING)
        self._shares = Shares(model, capacity, tally, self._waiting, policy.max_key_share)
        self._poll: asyncio.TimerHandle | None = None
        self._dispatch: asyncio.Handle | None = None

    @property
    def num_waiting(self) -> int:
        return sum(queue.num_waiting for queue in self._queues)

    @property
    def num_running(self) -> int:
        """Of all processes."""
        return self._shares.requests.total()

    def resize(self, capacity: Capacity) -> None:
        """The engine has been built again, perhaps with other bounds."""
        self._shares.capacity = capacity
        self.estimate.max_seq_len = capacity.max_seq_len
        self._rate.min_ends = capacity.num_requests or 1

    def enter(self, terms: Terms, asked: Sequence[tuple[Prompt, int | None]]) -> list[Ticket]:
        """A ticket for each generation of one request: its prompt, and its `max_tokens`.

        Raises:
            ServerOverloaded: no more may wait, or the client would not wait for so long.
            RateLimitExceeded: the key has asked for too many tokens.
        """
        works = [self.estimate.work(prompt, max_tokens) for prompt, max_tokens in asked]
        queue = self._queues[terms.batch]
        flow = queue.flow(terms.flow)
        cost = sum(work.cost for work in works)
        terms.quota.take_tokens(cost)
        if self.num_waiting:
            try:
                self._make_room(terms, flow, len(works), cost)
            except ServerOverloaded:
                terms.quota.correct_tokens(-cost)
                raise
        now_s = time.monotonic()
        self._shares.asked_by(terms.flow, now_s)
        until_s = min(now_s + self.queue_timeout_s, terms.begin_by_s, terms.complete_by_s)
        place = Place(queue, flow, terms.quota, now_s, min(terms.begin_by_s, terms.complete_by_s), terms.priority)
        tickets = [Ticket(self, place, prompt, work) for (prompt, _), work in zip(asked, works, strict=True)]
        for ticket in tickets:
            queue.push(flow, ticket)
        self.dispatch()
        for ticket in tickets:
            if ticket.waits:
                ticket.deadline = self._deadlines.add(until_s, partial(self._expire, ticket, terms))
        return tickets

    def is_closed_to(self, terms: Terms) -> bool:
        """Whether `enter` would reject even a small request."""
        if not self.num_waiting:
            return False
        flow = self._queues[terms.batch].flow(terms.flow)
        return self._comes_too_late(terms, self._wait_s(terms, flow, 1)) or self._in_the_way(terms, flow, 1, 1) is None

    def dispatch(self, *, beyond_share: bool = False) -> None:
        """Let in what fits, in the order of turns; `beyond_share` one request, if this process runs nothing."""
        self._dispatch = None
        self._poll = None if beyond_share else self._poll
        self._promote_batch()
        blocked = any(self._let_in(queue, beyond_share) for queue in self._queues)
        self._rate.busy(blocked, time.monotonic())
        self._count_waiting()
        if not blocked or self._poll is not None:
            return
        poll_s = _POLL_S * random.uniform(0.5, 1.5)  # noqa: S311 - nothing secret
        if wait_s := poll_s if self._waiting.is_shared else self._shares.mixed_for_s():
            self._poll = asyncio.get_running_loop().call_later(wait_s, partial(self.dispatch, beyond_share=True))

    def left(self) -> None:
        """Something does not wait any more, and what waits behind it may fit: looked at once for all that leave now."""
        self._count_waiting()
        if self.num_waiting and self._dispatch is None:
            self._dispatch = asyncio.get_running_loop().call_soon(self.dispatch)

    def freed(self, flow: str, work: Work, done: int) -> None:
        """The engine is through with a request, after it has done so much of its cost."""
        self._shares.remove(flow, work)
        self._rate.ended(done, time.monotonic())
        self.dispatch()

    def drain_s(self) -> float | None:
        """How long the engine needs for what waits; None if it is not known."""
        rate = self._rate.per_s
        return None if rate is None else sum(queue.waiting_cost for queue in self._queues) / rate

    def overloaded(self) -> ServerOverloaded:
        return ServerOverloaded(f"model {self.model} is busy: {self.num_waiting} wait for their turn", self.drain_s())

    def _expire(self, ticket: Ticket, terms: Terms) -> None:
        if time.monotonic() >= min(terms.begin_by_s, terms.complete_by_s):
            ticket.drop(DeadlineExceeded("the request had no turn within the time that its client waits"))
        else:
            timeout_s = self.queue_timeout_s
            ticket.drop(ServerOverloaded(f"model {self.model} is busy: no turn within {timeout_s:g} s", self.drain_s()))

    def _let_in(self, queue: FairQueue[Ticket], beyond_share: bool) -> bool:
        """Whether something is left that does not fit. One that leaves room for others does not hold them up."""
        leaving_room: set[str] = set()
        while (head := queue.head(leaving_room)) is not None:
            flow, ticket = head
            if not self._shares.fits(flow.name, ticket.work, beyond_share):
                if not self._shares.leaves_room(flow.name):
                    return True
                leaving_room.add(flow.name)
                continue
            queue.take(flow)
            self._shares.add(flow.name, ticket.work)
            ticket.begin()
        return bool(leaving_room)

    def _promote_batch(self) -> None:
        """Or they would wait as long as anything else does."""
        interactive, batch = self._queues
        if not (interactive.num_waiting and batch.num_waiting):
            return
        came_by_s = time.monotonic() - _AGED * self.queue_timeout_s
        for flow, ticket in batch.firsts():
            if ticket.came_s <= came_by_s:
                ticket.move(interactive, interactive.flow(flow.name))

    def _make_room(self, terms: Terms, flow: Flow[Ticket], num: int, cost: int) -> None:
        """Reject a request, or drop what has to give way to it."""
        self._check_patience(terms, flow, cost)
        dropped = self._in_the_way(terms, flow, num, cost)
        if dropped is None:
            raise self.overloaded()
        for ticket in dropped:
            ticket.drop(ServerOverloaded(f"model {self.model}: others wait for their turn", self.drain_s()))

    def _in_the_way(self, terms: Terms, flow: Flow[Ticket], num: int, cost: int) -> list[Ticket] | None:
        """As `FairQueue.in_the_way`, of requests on these terms."""
        queues = self._queues if terms.batch else self._queues[:1]
        is_full = partial(self._is_full, queues, num, cost)
        return self._queues[terms.batch].in_the_way(flow, cost, terms.priority, is_full)

    def _is_full(
        self, queues: Sequence[FairQueue[Ticket]], num: int, cost: int, num_freed: int = 0, cost_freed: int = 0
    ) -> bool:
        waiting = sum(queue.num_waiting for queue in queues) - num_freed
        if self._shares.capacity.num_requests is None or not waiting:
            return False
        batch = max(1, self._shares.capacity.num_requests // self._waiting.num_processes)
        if waiting + num <= batch:
            return False
        rate = self._rate.per_s
        if rate is None:
            return waiting + num > batch * _UNMEASURED_BATCHES
        return (sum(queue.waiting_cost for queue in queues) - cost_freed + cost) / rate > self.queue_timeout_s

    def _check_patience(self, terms: Terms, flow: Flow[Ticket], cost: int) -> None:
        wait_s = self._wait_s(terms, flow, cost)
        if self._comes_too_late(terms, wait_s):
            reason = f"its turn would come after about {wait_s:.1f} s, later than the client waits"
            raise ServerOverloaded(f"model {self.model} is busy: {reason}", self.drain_s())

    def _comes_too_late(self, terms: Terms, wait_s: float) -> bool:
        """Whether the client would get nothing of a turn after `wait_s`, or not all of its answer."""
        rate = self._rate.per_s
        run_s = self._shares.cost / rate if rate else 0.0  # Little's law: what a full engine has, by its pace
        now_s = time.monotonic()
        return now_s + _CAUTION * wait_s > terms.begin_by_s or now_s + _CAUTION * (wait_s + run_s) > terms.complete_by_s

    def _wait_s(self, terms: Terms, flow: Flow[Ticket], cost: int) -> float:
        """After what time a turn comes that is asked for now, by the pace measured; 0 before it is."""
        rate = self._rate.per_s
        if rate is None:
            return 0.0
        queue = self._queues[terms.batch]
        ahead = min(queue.waiting_cost, (flow.cost_before(terms.priority) + cost) * queue.num_flows)
        if terms.batch:
            ahead += self._queues[0].waiting_cost
        return ahead / rate

    def _count_waiting(self) -> None:
        """Tell the other processes, after something has come or has left."""
        change = self.num_waiting - self._waiting.own
        self._waiting.own += change
        self._all_waiting.own += change
