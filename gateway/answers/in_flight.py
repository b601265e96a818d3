"""The requests that are being answered: bounded in number, and brought to an end when the process has to go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from gateway.answers.answer import Answer
from gateway.answers.backend import Backend, Generation
from gateway.answers.tally import Tally
from triton_repo.contract.errors import EngineUnavailable, RequestError

logger = logging.getLogger(__name__)

_LAST_WORDS_S: Final = 1.0  # for a cancelled engine to say so, and for its stream to be written


class InFlight:
    """Opens answers and knows which are open. `max_answers` bounds the `tally`, which other processes may share."""

    def __init__(self, backend: Backend, max_answers: int, tally: Tally) -> None:
        self._backend = backend
        self._max_answers = max_answers
        self._tally = tally
        self._answers: set[Answer] = set()
        self._cancels: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurried = asyncio.Event()
        self.draining = False

    def open(self, generations: Sequence[Generation], num_prompts: int) -> Answer:
        """An answer that the caller must close.

        Raises:
            EngineUnavailable: the process is going down, or as many answers as allowed are open.
        """
        if self.draining:
            raise EngineUnavailable("the server is shutting down")
        answer = Answer(self._backend, generations, num_prompts, self)
        self._answers.add(answer)
        self._idle.clear()
        self._tally.set(len(self._answers))
        if self._tally.total() > self._max_answers:  # after it was counted: other processes check at the same time
            self.release(answer)
            raise EngineUnavailable(f"the server is busy with {self._max_answers} requests")
        return answer

    async def drain(self, grace_s: float) -> None:
        """Open nothing more; give open answers `grace_s` to end, then end them with an error, then the backend."""
        self.draining = True
        idle, hurried = asyncio.create_task(self._idle_within(grace_s)), asyncio.create_task(self._hurried.wait())
        await asyncio.wait({idle, hurried}, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        hurried.cancel()
        for answer in self._answers:
            answer.stop_engines()
        await self._idle_within(_LAST_WORDS_S)
        if self._cancels:
            await asyncio.wait(self._cancels, timeout=_LAST_WORDS_S)
        await self._backend.close()  # an engine that hangs says nothing, but its streams end with this
        await self._idle_within(_LAST_WORDS_S)

    def hurry(self) -> None:
        """No grace any more, for the drain that is under way or comes."""
        self._hurried.set()

    def release(self, answer: Answer) -> None:
        self._answers.discard(answer)
        self._tally.set(len(self._answers))
        if not self._answers:
            self._idle.set()

    def cancel(self, generation: Generation) -> None:
        task = asyncio.get_running_loop().create_task(self._cancel(generation))
        self._cancels.add(task)
        task.add_done_callback(self._cancels.discard)

    async def _idle_within(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            logger.warning("%d requests still open after %g s", len(self._answers), timeout_s)

    async def _cancel(self, generation: Generation) -> None:
        try:
            await self._backend.cancel(generation)
        except RequestError as error:
            logger.warning("request %s was not cancelled: %s", generation.request_id, error)
