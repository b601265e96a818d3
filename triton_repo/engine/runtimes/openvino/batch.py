"""The sequences that a pipeline works on, and how they survive a step that fails.

A failed step breaks the whole pipeline (2026.4): every later step fails too, for every request. So it is opened again,
the sequences that had made a step go on from where they were, and those that joined since the last good step are
suspects: they are let in one by one, each with a step of its own, so that only the one that fails the pipeline fails.

One that follows a guide cannot go on from where it was, for a grammar begins with the answer. It begins again, with the
same seed, and what it has generated before is not handed over twice; should it now come out otherwise, it fails.

A prompt that is cancelled half read leaves a block in the reused cache that is not filled to its end, and every later
prompt that begins alike gets a wrong answer. So such a prompt is read to its end before it leaves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np
import openvino
import openvino_genai

from triton_repo.contract.errors import EngineFailed
from triton_repo.contract.logprobs import TokenLogprob
from triton_repo.contract.tensors import FinishReason
from triton_repo.engine.runtimes.openvino.sequence import Sequence, State
from triton_repo.engine.runtimes.runtime import TokenDelta

logger = logging.getLogger(__name__)

_FINISH_REASONS: Final[dict[Any, FinishReason]] = {
    openvino_genai.GenerationFinishReason.NONE: "",
    openvino_genai.GenerationFinishReason.STOP: "stop",
    openvino_genai.GenerationFinishReason.LENGTH: "length",
}
_RUNNING: Final = openvino_genai.GenerationStatus.RUNNING


class Batch:
    """All sequences that the pipeline has, or is to get back.

    Args:
        pipeline: idle; the batch alone uses it.
        open_pipeline: opens another one like it, after a step has failed.
        generation_config: what the pipeline is to do for a sequence.
        reads_prompts_whole: a cancelled prompt is read to its end first, see above.
    """

    def __init__(
        self,
        pipeline: Any,
        open_pipeline: Callable[[], Any],
        generation_config: Callable[[Sequence], Any],
        *,
        reads_prompts_whole: bool,
    ) -> None:
        self._open_pipeline = open_pipeline
        self._generation_config = generation_config
        self._reads_prompts_whole = reads_prompts_whole
        self._pipeline = pipeline
        self._sequences: dict[int, Sequence] = {}
        self.loaded_s = float("-inf")  # when the pipeline was last opened again, see `ReloadingRuntime`

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._sequences.values())

    @property
    def is_recovering(self) -> bool:
        return any(sequence.state is State.SUSPECT for sequence in self)

    @property
    def has_work(self) -> bool:
        return self.is_recovering or bool(self._pipeline.has_non_finished_requests())

    @property
    def has_newcomers(self) -> bool:
        """Whether some have joined since the last step."""
        return any(sequence.state is State.JOINED for sequence in self)

    @property
    def awaits_first_of_guided(self) -> bool:
        """Whether a sequence with a guide has not got its first token of the present pipeline."""
        return any(sequence.is_guided and not sequence.prompt_read for sequence in self)

    @property
    def num_active(self) -> int:
        """Sequences that are not cancelled."""
        return sum(sequence.state is not State.LEAVING for sequence in self)

    def metrics(self) -> Any:
        """The pipeline's own; without work they stay at those of the last step with work."""
        return self._pipeline.get_metrics()

    def add(self, sequence: Sequence) -> None:
        """
        Raises:
            RuntimeError, TypeError, ValueError: the pipeline or its bindings reject the request.
        """
        self._enter(sequence)
        self._sequences[sequence.key] = sequence

    def cancel(self, key: int) -> None:
        """No delta of it follows; it stays in the batch until the pipeline has let go of it."""
        sequence = self._sequences.get(key)
        if sequence is None or sequence.state is State.LEAVING:
            return
        if sequence.state is State.SUSPECT:
            self._drop([sequence])
            return
        unread = sequence.state is State.RUNNING and not sequence.prompt_read
        sequence.state = State.LEAVING
        if not (unread and self._reads_prompts_whole):
            sequence.handle.cancel()

    def drop_cancelled(self) -> None:
        """Drop what the pipeline has let go of; to be called before new sequences are added."""
        if not self._pipeline.has_non_finished_requests():
            self._drop(self._in(State.LEAVING))

    def step(self) -> list[TokenDelta]:
        """One step of the pipeline, if it has work."""
        if suspects := self._in(State.SUSPECT):
            return self._try(suspects[0])
        if not self._pipeline.has_non_finished_requests():
            return []
        cancelled = [sequence for sequence in self._in(State.LEAVING) if sequence.handle.get_status() != _RUNNING]
        try:
            self._pipeline.step()
        except RuntimeError as error:
            logger.error("a step of the OpenVINO pipeline failed: %s", error)
            self._recover()
            return []
        for sequence in self._in(State.JOINED):
            sequence.state = State.RUNNING
        self._drop(cancelled)
        for sequence in self._in(State.LEAVING):
            if sequence.handle.can_read():  # its prompt has been read
                sequence.handle.cancel()
        return self._read()

    def renew(self) -> None:
        """Open the pipeline again between two steps, when nothing has joined since the last one."""
        self._reopen()

    def _recover(self) -> None:
        for sequence in self._in(State.JOINED) or self._in(State.RUNNING):
            sequence.state = State.SUSPECT
        self._reopen()

    def _try(self, suspect: Sequence) -> list[TokenDelta]:
        """Let a suspect in and make a step; if that fails, only this request is failed."""
        try:
            self._enter(suspect)
            self._pipeline.step()
        except RuntimeError as error:
            logger.error("the OpenVINO pipeline fails on a request: %s", error)
            self._drop([suspect])
            self._reopen()
            return [TokenDelta(suspect.key, error=EngineFailed("the engine failed on this request"))]
        suspect.state = State.RUNNING
        return self._read()

    def _reopen(self) -> None:
        self._drop(self._in(State.LEAVING))
        for sequence in self:
            sequence.handle, sequence.prompt_read = None, False
        self._pipeline = None  # before the new one is opened: two would take twice the memory
        self.loaded_s = float("inf")
        try:
            self._pipeline = self._open_pipeline()
        finally:
            self.loaded_s = time.monotonic()
        for sequence in self._in(State.RUNNING):
            self._enter(sequence)

    def _enter(self, sequence: Sequence) -> None:
        """Add a sequence to the pipeline; one that ran in another pipeline goes on behind what it has generated."""
        ids = np.array([[*sequence.generation.input_ids, *sequence.carried_over]], dtype=np.int64)
        sequence.repeated = sequence.generated[len(sequence.carried_over) :]
        config = self._generation_config(sequence)
        sequence.handle = self._pipeline.add_request(sequence.key, openvino.Tensor(ids), config)

    def _read(self) -> list[TokenDelta]:
        deltas = [self._read_one(sequence) for sequence in self._in(State.RUNNING)]
        return [delta for delta in deltas if delta is not None]

    def _read_one(self, sequence: Sequence) -> TokenDelta | None:
        handle = sequence.handle
        token_ids: list[int] = []
        logprobs: list[TokenLogprob] = []
        reason: FinishReason = ""
        while handle.can_read():
            for output in handle.read().values():
                token_ids += output.generated_ids
                if sequence.generation.sampling.logprobs is not None:  # else the pipeline gives zeros
                    logprobs += map(TokenLogprob, output.generated_log_probs)
                reason = _FINISH_REASONS[output.finish_reason]
        sequence.prompt_read = sequence.prompt_read or bool(token_ids)
        if sequence.repeated:
            num_repeated = len(sequence.repeated)
            new = sequence.unrepeated(token_ids)
            if new is None or (reason and sequence.repeated):
                return self._fail(sequence, "the engine failed, and what follows would be another answer")
            logprobs = logprobs[num_repeated:]
            token_ids = new
        sequence.generated += token_ids
        if reason:
            self._drop([sequence])
        elif handle.get_status() == openvino_genai.GenerationStatus.IGNORED:
            self._drop([sequence])
            error = EngineFailed("the request does not fit into the paged KV cache")
            return TokenDelta(sequence.key, token_ids, error=error)
        return TokenDelta(sequence.key, token_ids, reason, logprobs=logprobs) if token_ids or reason else None

    def _fail(self, sequence: Sequence, reason: str) -> TokenDelta:
        sequence.handle.cancel()
        sequence.state = State.LEAVING
        return TokenDelta(sequence.key, error=EngineFailed(reason))

    def _in(self, state: State) -> list[Sequence]:
        return [sequence for sequence in self if sequence.state is state]

    def _drop(self, sequences: Iterable[Sequence]) -> None:
        for sequence in sequences:
            del self._sequences[sequence.key]
