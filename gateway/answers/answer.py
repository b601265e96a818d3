"""The engine requests behind one HTTP request: read as pieces of choices, and stopped when nobody needs them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from gateway.answers.backend import Backend, Delta, Generation
from gateway.answers.merge import merge
from gateway.answers.stop import StopMatcher
from gateway.dialects.openai.logprobs import TokenQueue
from gateway.dialects.openai.shape import FinalReason, Piece, Usage
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, RequestError
from triton_repo.contract.tensors import FinishReason


class Owner(Protocol):
    """Who opened an answer, and outlives it."""

    def cancel(self, generation: Generation) -> None:
        """Stop one generation, in the background: the caller may itself be on its way out, cancelled."""

    def release(self, answer: Answer) -> None:
        """The answer is closed."""


class Answer:
    """One answer. Whoever opens it closes it: `close` cancels what the engines are still doing for it.

    Args:
        generations: one per choice, those of the same prompt side by side.
        num_prompts: how many prompts they answer; a prompt's tokens count once, however many choices it has.
        stops: stop strings; the text of a choice ends right before the one that starts first.
        owner: does what has to outlive the answer.
    """

    def __init__(
        self,
        backend: Backend,
        generations: Sequence[Generation],
        num_prompts: int,
        stops: Sequence[str],
        owner: Owner,
    ) -> None:
        self._backend = backend
        self._generations = generations
        self._choices_per_prompt = len(generations) // num_prompts
        self._stops = stops
        self._owner = owner
        self._last_delta: dict[int, Delta] = {}
        self._reasons: list[FinalReason] = []
        self._running = dict(enumerate(generations))

    def pieces(self) -> AsyncGenerator[Piece, None]:
        """What is said, as it comes; to be read once. Raises RequestError where an engine fails."""
        return merge([self._choice(index) for index in range(len(self._generations))])

    @property
    def usage(self) -> Usage:
        """The counts so far."""
        prompts = [delta for index, delta in self._last_delta.items() if index % self._choices_per_prompt == 0]
        cached = [delta.cached_tokens for delta in prompts if delta.cached_tokens >= 0]
        return Usage(
            prompt_tokens=sum(delta.prompt_tokens for delta in prompts),
            completion_tokens=sum(delta.completion_tokens for delta in self._last_delta.values()),
            cached_tokens=sum(cached) if cached else None,
        )

    @property
    def num_choices(self) -> int:
        return len(self._generations)

    @property
    def finish_reason(self) -> FinalReason | None:
        """None until every choice has ended; "length" if that cut any of them short."""
        if len(self._reasons) < len(self._generations):
            return None
        return "length" if "length" in self._reasons else "stop"

    def stop_engines(self) -> None:
        """Cancel every generation that has not ended."""
        while self._running:
            self._owner.cancel(self._running.popitem()[1])

    def close(self) -> None:
        self.stop_engines()
        self._owner.release(self)

    async def _choice(self, index: int) -> AsyncGenerator[Piece, None]:
        generation = self._generations[index]
        matcher = StopMatcher(self._stops)
        queue = None if generation.sampling.logprobs is None else TokenQueue()
        try:
            async with aclosing(self._backend.generate(generation)) as deltas:
                async for delta in deltas:
                    self._last_delta[index] = delta
                    piece = self._piece(index, delta, matcher)
                    if queue is not None:
                        piece = _with_tokens(piece, delta, queue, matcher)
                    if piece.finish_reason:
                        self._reasons.append(piece.finish_reason)
                    yield piece
                    if piece.finish_reason and not delta.finish_reason:
                        return
        except EngineUnavailable:
            raise  # nobody knows whether the engine still works on it
        except RequestError:
            self._running.pop(index, None)
            raise

    def _piece(self, index: int, delta: Delta, matcher: StopMatcher) -> Piece:
        text, cut = matcher.feed(delta.text)
        if delta.finish_reason:
            self._running.pop(index, None)
            if not cut:
                rest, cut = matcher.flush()
                text += rest
            return Piece(index, text, "stop" if cut else _final(delta.finish_reason))
        if cut and index in self._running:
            self._owner.cancel(self._running.pop(index))
        return Piece(index, text, "stop" if cut else None)


def _with_tokens(piece: Piece, delta: Delta, queue: TokenQueue, matcher: StopMatcher) -> Piece:
    beyond = 0 if piece.finish_reason is None else matcher.stop_length or None
    return piece._replace(tokens=queue.take(delta.tokens, piece.text, beyond))


def _final(reason: FinishReason) -> FinalReason:
    if reason in ("stop", "length"):
        return reason
    if reason == "cancelled":
        raise EngineUnavailable("the engine was told to stop before the answer was complete")
    raise EngineFailed("the engine failed while it worked on this request")
