"""The requests that are being answered: bounded in number, and brought to an end when the process has to go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

from gateway.answers.answer import Answer
from gateway.answers.backend import Backend, Generation
from gateway.answers.tally import Tally
from triton_repo.contract.errors import EngineUnavailable, RequestTimedOut

logger = logging.getLogger(__name__)

_TICKS: Final = 10  # looks at the clock within one timeout
_LONGEST_TICK_S: Final = 1.0
_CANCEL_TIMEOUT_S: Final = 1.0  # for a cancelled engine to confirm it, and for its stream to be written


class InFlight:
    """Opens answers and knows which are open.

    Args:
        max_answers: bound on the `tally`, which other processes may share.
        timeout_s: time for a whole answer; 0 is no limit.
    """

    def __init__(self, backend: Backend, max_answers: int, tally: Tally, timeout_s: float = 0) -> None:
        self._backend = backend
        self._max_answers = max_answers
        self._tally = tally
        self._timeout_s = timeout_s
        self._answers: dict[Answer, float] = {}  # when each was opened, oldest first
        self._idle = asyncio.Event()
        self._idle.set()
        self._grace_ended = asyncio.Event()
        self.draining = False

    def open(self, generations: Sequence[Generation], num_prompts: int) -> Answer:
        """An answer that the caller must close.

        Raises:
            EngineUnavailable: the process is going down, or as many answers as allowed are open.
        """
        if self.draining:
            raise EngineUnavailable("the server is shutting down")
        answer = Answer(self._backend, generations, num_prompts, self._release)
        self._answers[answer] = time.monotonic()
        self._idle.clear()
        self._tally.set(len(self._answers))
        if self._tally.total() > self._max_answers:  # after it was counted: other processes check at the same time
            self._release(answer)
            raise EngineUnavailable(f"the server is busy with {self._max_answers} requests")
        return answer

    async def drain(self, grace_s: float) -> None:
        """Open nothing more; give open answers `grace_s` to end, then end them with an error, then the backend."""
        self.draining = True
        idle = asyncio.create_task(self._idle_within(grace_s))
        grace_ended = asyncio.create_task(self._grace_ended.wait())
        await asyncio.wait({idle, grace_ended}, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        grace_ended.cancel()
        for answer in self._answers:
            answer.stop_engines()
        await self._idle_within(_CANCEL_TIMEOUT_S)
        await self._backend.close()  # the streams of an engine that hangs end with this
        await self._idle_within(_CANCEL_TIMEOUT_S)

    def end_grace(self) -> None:
        """No grace any more, for the drain that is under way or comes."""
        self._grace_ended.set()

    async def run(self) -> None:
        """End answers that are older than the timeout. One clock for all: a timer for each costs as much as to parse a
        short body."""
        while self._timeout_s:
            await asyncio.sleep(min(self._timeout_s / _TICKS, _LONGEST_TICK_S))
            overdue_s = time.monotonic() - self._timeout_s
            for answer in [answer for answer, opened_s in self._answers.items() if opened_s <= overdue_s]:
                answer.stop_engines(RequestTimedOut(f"the answer was not complete within {self._timeout_s:g} s"))

    def _release(self, answer: Answer) -> None:
        self._answers.pop(answer, None)
        self._tally.set(len(self._answers))
        if not self._answers:
            self._idle.set()

    async def _idle_within(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            if self._answers:
                logger.warning("%d requests still open after %g s", len(self._answers), timeout_s)
