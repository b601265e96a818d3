"""The generations of one request, read as the events of their choices, and stopped when they are not needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace
from typing import Final

from gateway.admission.ticket import Ticket
from gateway.answers.backend import Backend, Delta, EngineLost, Generation
from gateway.answers.choice import Choice
from gateway.answers.events import Event, FinalReason, Usage
from gateway.answers.merge import merge
from gateway.answers.schema_check import check_answer
from triton_repo.contract.errors import EngineUnavailable, RequestError

_SECOND: Final = "-again"  # id of the second try: what comes of the first, if anything does, belongs to no request


class Answer:
    """One answer. Its opener closes it: `close` cancels what the engines are still doing for it.

    What an engine had not begun when it was lost, it is asked for a second time when it is back: nothing of the answer
    has been seen by then.

    Args:
        generations: one per choice, those of the same prompt side by side; `tickets` are theirs.
        num_prompts: how many prompts they answer; a prompt's tokens count once, however many choices it has.
        released: is called when the answer is closed.
    """

    def __init__(
        self,
        backend: Backend,
        generations: Sequence[Generation],
        tickets: Sequence[Ticket],
        num_prompts: int,
        released: Callable[[Answer], None] = lambda _: None,
    ) -> None:
        self._backend = backend
        self._choices = [Choice(index, generation) for index, generation in enumerate(generations)]
        self._tickets = tickets
        self._choices_per_prompt = len(generations) // num_prompts
        self._released = released
        self._running = dict(enumerate(generations))
        self._num_ended = 0
        self._stopped: RequestError | None = None
        self._waiting: set[asyncio.Task[None]] = set()  # for engines that were lost

    def events(self) -> AsyncGenerator[Sequence[Event], None]:
        """The events of all choices in order of arrival, those of one delta together; Usage comes last. Single use.

        Raises:
            RequestError: an engine failed.
            AnswerDoesNotMatch: a choice is not what its schema allows; all of its text may be out by then.
        """
        if len(self._choices) == 1:  # most requests have one, and it then costs no task and no queue
            return self._read(self._choices[0])
        return merge([self._read(choice) for choice in self._choices])

    @property
    def usage(self) -> Usage:
        """The counts so far."""
        firsts = [choice.last_delta for choice in self._choices[:: self._choices_per_prompt]]
        prompts = [delta for delta in firsts if delta is not None]
        cached = [delta.cached_tokens for delta in prompts if delta.cached_tokens >= 0]
        reasoning = [choice.reasoning_tokens for choice in self._choices if choice.reasoning_tokens is not None]
        return Usage(
            prompt_tokens=sum(delta.prompt_tokens for delta in prompts),
            completion_tokens=sum(choice.completion_tokens for choice in self._choices),
            cached_tokens=sum(cached) if cached else None,
            reasoning_tokens=sum(reasoning) if reasoning else None,
        )

    @property
    def num_choices(self) -> int:
        return len(self._choices)

    @property
    def num_tokens(self) -> int:
        """Tokens that the engines have told of so far, those beyond a stop string too."""
        if len(self._choices) == 1:
            delta = self._choices[0].last_delta
            return delta.completion_tokens if delta else 0
        return sum(choice.last_delta.completion_tokens for choice in self._choices if choice.last_delta)

    @property
    def came_s(self) -> float:
        """When it asked for its turn, on the monotonic clock."""
        return self._tickets[0].came_s

    @property
    def waited_s(self) -> float | None:
        """How long it waited for its turn, or the last of its turns; None where none has come."""
        return max((ticket.waited_s for ticket in self._tickets if ticket.waited_s is not None), default=None)

    @property
    def has_its_turns(self) -> bool:
        """No choice waits any more."""
        return not any(ticket.waits for ticket in self._tickets)

    @property
    def finish_reason(self) -> FinalReason | None:
        """None until every choice has ended; "length" if that cut any of them short."""
        reasons = [choice.finish_reason for choice in self._choices]
        if None in reasons:
            return None
        return "length" if "length" in reasons else reasons[0]

    def stop_engines(self, error: RequestError | None = None) -> None:
        """Cancel every generation that has not ended; with `error` the answer ends at once, whatever the engines do."""
        self._stopped = error or EngineUnavailable("the answer was stopped before it began")
        for waiting in self._waiting:
            waiting.cancel()
        while self._running:
            index, generation = self._running.popitem()
            if self._tickets[index].waits:
                self._tickets[index].drop(self._stopped)
            else:
                self._backend.cancel(generation, error)

    def close(self) -> None:
        """Whatever fails of it, the rest is done; the failure is raised then."""
        with ExitStack() as ends:  # the last one first
            for choice, ticket in zip(self._choices, self._tickets, strict=True):
                ends.callback(_settle, ticket, choice)
            ends.callback(self._released, self)
            for choice, ticket in zip(self._choices, self._tickets, strict=True):
                ends.callback(ticket.free, _done(choice))
            ends.callback(self.stop_engines)

    async def _read(self, choice: Choice) -> AsyncGenerator[Sequence[Event], None]:
        ticket = self._tickets[choice.index]
        await ticket.turn()
        if self._stopped is not None:  # between its turn and now
            raise self._stopped
        generation, is_through = choice.generation, False
        while not is_through:
            try:
                async with aclosing(self._backend.generate(generation, ticket.free)) as deltas:
                    async for delta in deltas:
                        if delta.finish_reason:
                            self._running.pop(choice.index, None)
                        if events := await _fed(choice, delta):
                            yield events
                        if choice.finish_reason is not None:
                            break
                is_through = True
            except EngineLost as lost:
                generation = await self._second(choice, generation, lost)
        if choice.index in self._running:  # a stop string: the engine does not know that it is over
            self._backend.cancel(self._running.pop(choice.index))
            ticket.free()
        self._num_ended += 1
        if self._num_ended == len(self._choices):
            yield (self.usage,)

    async def _second(self, choice: Choice, first: Generation, lost: EngineLost) -> Generation:
        """What to ask of the engine, which is back, after it was lost with the first.

        Raises:
            EngineLost: nothing, or it did not come back while its client waits, for as long as for a turn at most.
        """
        has_begun = any(other.last_delta for other in self._choices)
        if has_begun or first is not choice.generation or self._stopped is not None:
            raise lost
        waiting = asyncio.create_task(self._backend.is_back(first.model))
        self._waiting.add(waiting)
        try:
            await asyncio.wait({waiting}, timeout=max(0.0, self._tickets[choice.index].patience_s()))
            if not waiting.done() or self._stopped is not None:
                raise lost
        finally:
            self._waiting.discard(waiting)
            waiting.cancel()
        second = self._running[choice.index] = replace(first, request_id=first.request_id + _SECOND)
        return second


async def _fed(choice: Choice, delta: Delta) -> Sequence[Event]:
    """The events of one delta; that a choice has ended is said once it is known to match its schema."""
    events = choice.feed(delta)
    for schema, text in choice.to_check:
        await check_answer(schema, text)
    return events


def _done(choice: Choice) -> int:
    """Tokens that the engine has worked on, as far as it has told."""
    delta = choice.last_delta
    return delta.prompt_tokens + delta.completion_tokens if delta else 0


def _settle(ticket: Ticket, choice: Choice) -> None:
    ticket.settle(choice.last_delta.prompt_tokens if choice.last_delta else 0, choice.completion_tokens)
