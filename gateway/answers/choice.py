"""One choice of an answer: the deltas of its engine in, events out. It knows no task and no engine."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.answers.backend import Delta, Generation
from gateway.answers.calls.promised import Promised
from gateway.answers.events import Event, FinalReason, Finish, PromptTokens
from gateway.answers.readers import ParsedReader, PlainReader, Reader
from triton_repo.contract.errors import EngineFailed, EngineUnavailable
from triton_repo.contract.tensors import PROMPT_IDS, PROMPT_LOGPROBS, FinishReason


class Choice:
    """Ends at the first stop string, at its generation's `most_tokens` or with the engine, and is then fed no more."""

    def __init__(self, index: int, generation: Generation) -> None:
        self.index = index
        self.generation = generation
        self.finish_reason: FinalReason | None = None
        self.last_delta: Delta | None = None
        parsing = generation.parsing
        self._promised = Promised(generation.sampling.guide, parsing.own_form if parsing is not None else None)
        self._reader: Reader = (
            PlainReader(index, generation) if parsing is None else ParsedReader(index, generation, parsing)
        )

    def feed(self, delta: Delta) -> Sequence[Event]:
        """The events of one delta.

        Raises:
            EngineUnavailable, EngineFailed: the delta says that the engine did not complete the answer.
        """
        self.last_delta = delta
        most = self.generation.most_tokens
        is_full = most is not None and delta.completion_tokens >= most
        events = self._reader.read(delta, is_full or bool(delta.finish_reason))
        self._promised.add(delta.text, events)
        if self._reader.is_cut:
            self.finish_reason = self._stopped()
        elif delta.finish_reason:
            reason = _final(delta.finish_reason)
            self.finish_reason = self._stopped() if reason == "stop" else reason
        elif is_full:
            self.finish_reason = "length"
        if delta.prompt:
            events = [self._of_prompt(delta.prompt), *events]
        if self.finish_reason is None:
            return events
        return [*events, Finish(self.index, self.finish_reason, self._reader.stop)]

    @property
    def to_check(self) -> Sequence[tuple[str, str]]:
        """JSON schemas, and what must match each of them: of an answer that the model has finished."""
        return self._promised.parts(is_cut=self._reader.is_cut) if self.finish_reason in ("stop", "tool_calls") else ()

    @property
    def completion_tokens(self) -> int:
        """Those that the answer needed, however far the engine has run ahead."""
        if self._reader.is_cut and self._reader.num_tokens is not None:
            return self._reader.num_tokens
        return self.last_delta.completion_tokens if self.last_delta else 0

    @property
    def reasoning_tokens(self) -> int | None:
        """Those of `completion_tokens` that went into reasoning; None where that is not known."""
        return self._reader.reasoning_tokens

    def _of_prompt(self, prompt: str) -> PromptTokens:
        told = orjson.loads(prompt)
        return PromptTokens(self.index, told[PROMPT_IDS], orjson.dumps(told[PROMPT_LOGPROBS] or None))

    def _stopped(self) -> FinalReason:
        return "tool_calls" if self._reader.has_calls else "stop"


def _final(reason: FinishReason) -> FinalReason:
    if reason in ("stop", "length"):
        return reason
    if reason == "cancelled":
        raise EngineUnavailable("the engine was told to stop before the answer was complete")
    raise EngineFailed("the engine failed while it worked on this request")
