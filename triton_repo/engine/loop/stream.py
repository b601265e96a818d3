"""One live request between the runtime and its client: what was generated, what was sent, what waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from triton_repo.contract.logprobs import LENGTHS_ONLY, TokenLogprob, prompt_to_json, to_json
from triton_repo.contract.tensors import MAX_CONTEXT_IDS, NO_FLAGS, NOT_REPORTED, DeltaFlags, FinishReason
from triton_repo.engine.request import EngineRequest


@dataclass(frozen=True, slots=True)
class Emission:
    """One delta on its way to the client.

    `output_ids` are the last `window_length` ids sent before, then the new ones; `generated` counts every token
    sampled so far, an end token included. `finish_reason` is a FinishReason, or the error of one of several rows.
    `logprobs` are those of the new ids; `token_lengths` asks for the lengths of their texts. `prompt` is what is told
    of the prompt, as JSON. `trace` is the context of a request that is traced, of its first and its last delta.
    """

    request_id: str
    output_ids: Sequence[int]
    window_length: int
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    generated: int
    logprobs: Sequence[TokenLogprob] = ()
    token_lengths: bool = False
    flags: DeltaFlags = NO_FLAGS
    prompt: bytes = b""
    trace: Sequence[int] = ()

    @property
    def lengths(self) -> tuple[int, int, int]:
        """This delta's elements of the DELTA_LENGTHS tensor."""
        return self.window_length, len(self.output_ids), self.flags

    def token_data(self) -> bytes:
        """This delta's element of the LOGPROBS tensor."""
        if self.token_lengths and not self.logprobs and len(self.output_ids) > self.window_length:
            return LENGTHS_ONLY
        return to_json(self.logprobs)


def listed(emissions: Sequence[Emission]) -> list[bytes]:
    """The LOGPROBS tensor of a message; empty where no delta lists anything."""
    if not any(emission.logprobs or emission.token_lengths or emission.prompt for emission in emissions):
        return []
    tokens = [emission.token_data() for emission in emissions]
    prompts = [emission.prompt for emission in emissions]
    return [*tokens, *prompts] if any(prompts) else tokens


class Stream:
    """Collects ids until they are taken as an emission, and detects the end: end ids, stop sequences, length."""

    def __init__(self, request_id: str, request: EngineRequest) -> None:
        self._request_id = request_id
        self._request = request
        self._end_ids = frozenset(request.end_ids)
        self._tail_length = max((len(sequence) for sequence in request.stop_sequences), default=0)
        self._ids: list[int] = []  # all that belong to the answer; those from `_sent` on have not been sent
        self._logprobs: list[TokenLogprob] = []  # of `_ids`
        self._sent = 0
        self._generated = 0
        self.adapter = request.sampling.lora_name
        self.prompt_logprobs: Sequence[TokenLogprob] = ()
        self.cached_tokens = NOT_REPORTED
        self.finish_reason: FinishReason = ""
        self._emitted = False
        self._has_silent_end = False
        self.trace = request.trace

    @property
    def waits(self) -> bool:
        """There is something to send: ids that a streaming client has not seen, or the end."""
        return bool(self.finish_reason) or (self._request.stream and len(self._ids) > self._sent)

    @property
    def urgent(self) -> bool:
        """What waits is to be sent at once: the first token, or the end."""
        return self.waits and (not self._emitted or bool(self.finish_reason))

    @property
    def whole(self) -> bool:
        """What waits is all of the answer."""
        return not self._emitted and bool(self.finish_reason)

    def accept(self, token_ids: Sequence[int], finish_reason: FinishReason) -> None:
        """Append new ids; sets `finish_reason` to what they imply, or to the runtime's."""
        if not self._generated:
            self.trace.enter("decode")
        if self._request.echo == "prompt":
            self.finish_reason = "length"
            return
        if not self._tail_length and self._end_ids.isdisjoint(token_ids):
            self._generated += len(token_ids)
            self._ids += token_ids
            self.finish_reason = finish_reason
            return
        for token_id in token_ids:
            self._generated += 1
            if token_id in self._end_ids and self._generated > (self._request.sampling.min_tokens or 0):
                self.finish_reason = "stop"
                if self._request.lists_end:
                    self._ids.append(token_id)
                    self._has_silent_end = True
                return
            self._ids.append(token_id)
            if self._tail_length and self._ends_in_stop_sequence():
                self.finish_reason = "stop"
                return
        self.finish_reason = finish_reason

    def accept_logprobs(self, logprobs: Sequence[TokenLogprob]) -> None:
        """Append the logprobs of the ids that `accept` has just appended; those of ids that it dropped are dropped."""
        self._logprobs += logprobs[: len(self._ids) - len(self._logprobs)]

    def end(self, finish_reason: FinishReason) -> None:
        self.finish_reason = finish_reason

    def take(self) -> Emission:
        """Everything that waits, as one emission."""
        window = min(self._sent, MAX_CONTEXT_IDS)
        output_ids = self._ids[self._sent - window :]
        logprobs: Sequence[TokenLogprob] = self._logprobs[self._sent :] if self._logprobs else ()
        if self._request.echo and not self._emitted:
            output_ids = [*self._request.input_ids, *output_ids]
            logprobs = [*self._prompt_logprobs(self._request.sampling.logprobs), *logprobs]
        prompt = self._prompt() if not self._emitted else b""
        trace = self.trace.context() if self.urgent else ()
        self._sent = len(self._ids)
        self._emitted = True
        return Emission(
            request_id=self._request_id,
            output_ids=output_ids,
            window_length=window,
            finish_reason=self.finish_reason,
            prompt_tokens=len(self._request.input_ids),
            cached_tokens=self.cached_tokens,
            generated=self._generated,
            logprobs=logprobs,
            token_lengths=self._request.token_lengths,
            flags=self._flags(),
            prompt=prompt,
            trace=trace,
        )

    def _flags(self) -> DeltaFlags:
        flags = DeltaFlags.KEEPS_SPECIAL if self._request.keep_special else NO_FLAGS
        flags |= DeltaFlags.SILENT_END if self._has_silent_end else NO_FLAGS
        return flags | (DeltaFlags.LISTS_IDS if self._request.token_ids else NO_FLAGS)

    def _prompt(self) -> bytes:
        """What the request asked to be told of its prompt."""
        most = self._request.sampling.prompt_logprobs
        if most is None and not self._request.token_ids:
            return b""
        return prompt_to_json(self._request.input_ids, self._prompt_logprobs(most))

    def _prompt_logprobs(self, most: int | None) -> Sequence[TokenLogprob]:
        """Those of the prompt, with at most so many alternatives; none where it is None."""
        return [] if most is None else [each._replace(top=each.top[:most]) for each in self.prompt_logprobs]

    def _ends_in_stop_sequence(self) -> bool:
        tail = tuple(self._ids[-self._tail_length :])
        return any(tail[-len(sequence) :] == sequence for sequence in self._request.stop_sequences)
