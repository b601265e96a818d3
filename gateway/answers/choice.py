"""One choice of an answer: the deltas of its engine in, events out. It knows no task and no engine."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.answers.backend import Delta, Generation
from gateway.answers.events import Event, FinalReason, Finish, Text
from gateway.answers.stop import StopMatcher
from gateway.answers.tokens import Token, TokenQueue
from triton_repo.contract.errors import EngineFailed, EngineUnavailable
from triton_repo.contract.tensors import FinishReason


class Choice:
    """Ends at the first stop string, at its generation's `most_tokens` or with the engine, and is then fed no more."""

    def __init__(self, index: int, generation: Generation) -> None:
        self.index = index
        self.generation = generation
        self.finish_reason: FinalReason | None = None
        self.last_delta: Delta | None = None
        self._cut = False
        self._matcher = StopMatcher(generation.stops) if generation.stops else None
        self._lists_tokens = generation.sampling.logprobs is not None
        self._tokens: TokenQueue | None = None
        if self._lists_tokens or generation.stops:
            self._tokens = TokenQueue(generation.sampling.min_tokens or 0)

    def feed(self, delta: Delta) -> Sequence[Event]:
        """The events of one delta.

        Raises:
            EngineUnavailable, EngineFailed: the delta says that the engine did not complete the answer.
        """
        self.last_delta = delta
        most = self.generation.most_tokens
        is_full = most is not None and delta.completion_tokens >= most
        is_last = is_full or bool(delta.finish_reason)
        text = delta.text if self._tokens is None else self._up_to_stop(delta, self._tokens, is_last)
        if self._cut:
            self.finish_reason = "stop"
        elif delta.finish_reason:
            self.finish_reason = _final(delta.finish_reason)
        elif is_full:
            self.finish_reason = "length"
        return self._events(text, self._leaving(text))

    @property
    def completion_tokens(self) -> int:
        """Up to the token that completes the stop string, however far the engine has run ahead."""
        if self._cut and self._tokens is not None and self._tokens.num_added:
            return self._tokens.num_taken
        return self.last_delta.completion_tokens if self.last_delta else 0

    def _up_to_stop(self, delta: Delta, tokens: TokenQueue, is_last: bool) -> str:
        tokens.add(delta.tokens)
        if self._matcher is None:
            return delta.text
        text, self._cut = self._matcher.feed(delta.text, tokens.exempt)
        if is_last and not self._cut:
            rest, self._cut = self._matcher.flush()
            text += rest
        return text

    def _leaving(self, text: str) -> list[Token] | None:
        """The tokens that go out with `text`; None where logprobs are not asked for."""
        if self._tokens is None:
            return None
        beyond: int | None = 0  # the tokens of held text wait with it
        if self.finish_reason is not None:
            beyond = self._matcher.stop_length if self._matcher is not None and self._cut else None
        leaving = self._tokens.take(text, beyond)
        return leaving if self._lists_tokens else None

    def _events(self, text: str, tokens: list[Token] | None) -> Sequence[Event]:
        added = text or tokens or (self.finish_reason and tokens is not None)
        events: list[Event] = [Text(self.index, text, tokens)] if added else []
        if self.finish_reason is not None:
            events.append(Finish(self.index, self.finish_reason))
        return events


def _final(reason: FinishReason) -> FinalReason:
    if reason in ("stop", "length"):
        return reason
    if reason == "cancelled":
        raise EngineUnavailable("the engine was told to stop before the answer was complete")
    raise EngineFailed("the engine failed while it worked on this request")
