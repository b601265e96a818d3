"""The place of one generation at the gate of its engine: it waits, then it runs, then it is over."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple, Protocol

from gateway.admission.deadlines import Deadline
from gateway.admission.estimate import Estimate, Prompt, Work
from gateway.admission.flows import FairQueue, Flow
from gateway.admission.quota import Quota
from gateway.admission.terms import PRIORITY
from triton_repo.contract.errors import RequestError


class Keeper(Protocol):
    """What a gate is to its tickets."""

    estimate: Estimate
    queue_timeout_s: float

    def freed(self, flow: str, work: Work, done: int, /) -> None: ...

    def left(self) -> None: ...


class Place(NamedTuple):
    """Where a ticket waits for its turn, since when, whose turn and quota it is, when its client gives up, and how
    urgent it is."""

    queue: FairQueue[Ticket]
    flow: Flow[Ticket]
    quota: Quota
    came_s: float
    begin_by_s: float
    priority: float = PRIORITY


class Ticket:
    """`waits` until its turn has come or it `left` without one; `deadline` ends that. Whoever opens it frees it."""

    __slots__ = (
        "_began",
        "_error",
        "_gate",
        "_place",
        "_prompt",
        "_runs",
        "_turn",
        "deadline",
        "waited_s",
        "waits",
        "work",
    )

    def __init__(self, gate: Keeper, place: Place, prompt: Prompt, work: Work) -> None:
        self.work = work
        self.waits = True
        self.deadline: Deadline | None = None
        self.waited_s: float | None = None  # until its turn came
        self._gate = gate
        self._place = place
        self._prompt = prompt
        self._began = False
        self._runs = False
        self._turn: asyncio.Future[None] | None = None
        self._error: RequestError | None = None

    @property
    def cost(self) -> int:
        return self.work.cost

    @property
    def priority(self) -> float:
        return self._place.priority

    @property
    def left(self) -> bool:
        return not self.waits

    async def turn(self) -> None:
        """Return when the engine can take it.

        Raises:
            RequestError: it was dropped.
        """
        if self.waits:
            self._turn = asyncio.get_running_loop().create_future()
            await self._turn
        if self._error is not None:
            raise self._error

    def begin(self) -> None:
        """Its turn has come."""
        self._began = self._runs = True
        self.waited_s = time.monotonic() - self._place.came_s
        self._end_wait()

    @property
    def came_s(self) -> float:
        return self._place.came_s

    def patience_s(self) -> float:
        """How long it may wait for its engine from now on: no longer than for a turn."""
        return min(self._gate.queue_timeout_s, self._place.begin_by_s - time.monotonic())

    def drop(self, error: RequestError) -> None:
        """Its turn, if it has not come, never comes."""
        if self.waits:
            self._error = error
            self._end_wait()
            self._place.queue.leave(self._place.flow, self)
            self._gate.left()

    def free(self, done: int | None = None) -> None:
        """The engine is through with it, or will be in a moment; it has done so much of the work, or all.

        May be called again.
        """
        if self._runs:
            self._runs = False
            cost = self.work.cost
            self._gate.freed(self._place.flow.name, self.work, cost if done is None else min(cost, done))

    def move(self, queue: FairQueue[Ticket], flow: Flow[Ticket]) -> None:
        """Wait for a turn in another queue."""
        self._place.queue.pull(self._place.flow, self)
        self._place = self._place._replace(queue=queue, flow=flow)
        queue.push(flow, self)

    def settle(self, prompt_tokens: int, completion_tokens: int) -> None:
        """What it has cost in the end; nothing if it has not begun.

        Without `prompt_tokens` the engine has not told: it was stopped, or failed, before a delta. What it has worked
        until then is not known, so the estimate stays.
        """
        if self._began and not prompt_tokens:
            return
        correction = prompt_tokens + completion_tokens - self.work.cost
        self._place.quota.correct_tokens(correction)
        if prompt_tokens:
            self._place.flow.served += correction
            self._gate.estimate.learn(self._prompt, prompt_tokens, completion_tokens)

    def _end_wait(self) -> None:
        self.waits = False
        if self.deadline is not None:
            self.deadline.cancel()
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)
