"""The `openvino` runtime: OpenVINO GenAI's continuous batching on the CPU, embedded in the engine model.

Three things that the pipeline (2026.4) does not do by itself are done here.

A step that raises poisons the whole pipeline: every later step raises too, for every request. So on a failure the
pipeline is opened anew, the requests that had already run go on from where they were, and those that joined since
the last good step are let in one by one, so that only the culprit fails.

It does not keep to `max_batch_size` when contexts are chunked, and when its cache runs out under requests that are
half done, the blocks that it takes from one of them spoil the answers of others (with `enable_kv_cache_reuse` or
speculative decoding). So a request enters only when all that it may come to need is free.

A prompt that is cancelled half read leaves a block in the reused cache that is not filled to its end, and every
later prompt that begins alike is answered wrongly. So such a prompt is read to its end before it goes.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
import openvino_genai

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import EngineFailed
from triton_repo.contract.logprobs import TokenLogprob
from triton_repo.contract.tensors import FinishReason
from triton_repo.engine.runtimes.openvino.admission import Admission
from triton_repo.engine.runtimes.openvino.pipeline import cache_blocks, generation_config, num_blocks, open_pipeline
from triton_repo.engine.runtimes.runtime import Generation, Load, TokenDelta

logger = logging.getLogger(__name__)

_FINISH_REASONS: Final[dict[Any, FinishReason]] = {
    openvino_genai.GenerationFinishReason.NONE: "",
    openvino_genai.GenerationFinishReason.STOP: "stop",
    openvino_genai.GenerationFinishReason.LENGTH: "length",
}
_RUNNING: Final = openvino_genai.GenerationStatus.RUNNING


@dataclass(slots=True)
class _Running:
    generation: Generation
    seed: int
    handle: Any = None
    prompt_read: bool = False  # by the pipeline that runs now
    generated: list[int] = field(default_factory=list)


class OpenVinoRuntime:
    """Runs the model in `model_directory` (`openvino_model.xml`) with the limits of `config`."""

    def __init__(self, model_directory: Path, config: EngineConfig) -> None:
        self._model_directory = model_directory
        self._config = config
        self._admission = Admission(config.max_batch_size, cache_blocks(config))
        self._waiting: dict[int, _Running] = {}  # outside the pipeline, in order
        self._running: dict[int, _Running] = {}
        self._leaving: dict[int, _Running] = {}  # cancelled, and not yet gone
        self._joined: set[int] = set()  # since the last good step
        self._pipeline = open_pipeline(self._model_directory, self._config)

    def submit(self, generation: Generation) -> None:
        seed = generation.sampling.seed
        # The pipeline's own default is the same seed for every request.
        self._waiting[generation.key] = _Running(generation, secrets.randbits(32) if seed is None else seed % 2**64)

    def cancel(self, key: int) -> None:
        self._waiting.pop(key, None)
        running = self._running.pop(key, None)
        if running is None:
            return
        self._leaving[key] = running
        may_leave = running.prompt_read or key in self._joined or not self._spoilt_by_half_a_prompt
        if may_leave and running.handle is not None:
            running.handle.cancel()
        self._joined.discard(key)

    def step(self) -> Sequence[TokenDelta]:
        if not self._pipeline.has_non_finished_requests():
            self._forget(list(self._leaving))
        refused = self._admit()
        if not self._pipeline.has_non_finished_requests():
            return refused
        gone = [key for key, running in self._leaving.items() if running.handle.get_status() != _RUNNING]
        try:
            self._pipeline.step()
        except RuntimeError as error:
            logger.error("a step of the OpenVINO pipeline failed: %s", error)
            return refused + self._recover()
        self._joined.clear()
        self._let_go(gone)
        return refused + self._read(list(self._running.values()))

    def idle_s(self) -> float | None:
        return 0 if self._waiting or self._pipeline.has_non_finished_requests() else None

    def load(self) -> Load:
        if not self._pipeline.has_non_finished_requests():
            return Load(0, len(self._waiting), 0.0)  # the pipeline's metrics stay at those of its last step with work
        metrics = self._pipeline.get_metrics()
        running = min(metrics.scheduled_requests, len(self._running))
        waiting = len(self._waiting) + len(self._running) - running
        return Load(running, waiting, metrics.cache_usage / 100)

    def close(self) -> None:
        self._waiting.clear()
        for key in list(self._running):
            self.cancel(key)

    @property
    def _spoilt_by_half_a_prompt(self) -> bool:
        return self._config.enable_kv_cache_reuse and self._config.enable_chunked_context

    def _blocks(self, generation: Generation) -> int:
        """Blocks that a generation may come to need; 0 where the pipeline may take them back without harm."""
        if not self._config.enable_kv_cache_reuse and self._config.speculative is None:
            return 0
        candidates = self._config.speculative.num_assistant_tokens if self._config.speculative else 0
        return num_blocks(len(generation.input_ids) + generation.max_tokens + candidates)

    def _admit(self) -> list[TokenDelta]:
        """Let in who waits, in order, as far as there is room; the deltas are those of refused requests."""
        refused = []
        for key, running in list(self._waiting.items()):
            if not self._admission.admit(key, self._blocks(running.generation)):
                break
            del self._waiting[key]
            try:
                self._enter(running)
            except (RuntimeError, TypeError, ValueError) as error:  # its own checks, and its bindings'
                self._admission.release(key)
                logger.error("the OpenVINO pipeline refuses a request: %s", error)
                refused.append(TokenDelta(key, error=EngineFailed("the engine refuses this request")))
            else:
                self._running[key] = running
                self._joined.add(key)
        return refused

    def _let_go(self, gone: Iterable[int]) -> None:
        """Forget those that were cancelled before the step that is over; cancel those whose prompt it has read."""
        self._forget(gone)
        for running in self._leaving.values():
            if running.handle.can_read():
                running.handle.cancel()

    def _forget(self, gone: Iterable[int]) -> None:
        for key in gone:
            del self._leaving[key]
            self._admission.release(key)

    def _enter(self, running: _Running) -> None:
        """Add a request to the pipeline; one that ran before a failure goes on behind what it has generated."""
        ids = np.array([[*running.generation.input_ids, *running.generated]], dtype=np.int64)
        running.prompt_read = False
        running.handle = self._pipeline.add_request(
            running.generation.key, openvino.Tensor(ids), self._generation_config(running)
        )

    def _generation_config(self, running: _Running) -> Any:
        return generation_config(running.generation, running.seed, len(running.generated), self._config.speculative)

    def _read(self, runnings: Iterable[_Running]) -> list[TokenDelta]:
        deltas = (self._read_one(running) for running in runnings)
        return [delta for delta in deltas if delta is not None]

    def _read_one(self, running: _Running) -> TokenDelta | None:
        key, handle = running.generation.key, running.handle
        token_ids: list[int] = []
        logprobs: list[TokenLogprob] = []
        reason: FinishReason = ""
        while handle.can_read():
            for output in handle.read().values():
                token_ids += output.generated_ids
                if running.generation.sampling.logprobs is not None:  # else the pipeline gives zeros
                    logprobs += map(TokenLogprob, output.generated_log_probs)
                reason = _FINISH_REASONS[output.finish_reason]
        running.prompt_read = running.prompt_read or bool(token_ids)
        running.generated += token_ids
        if reason:
            self._end(key)
        elif handle.get_status() == openvino_genai.GenerationStatus.IGNORED:
            self._end(key)
            return TokenDelta(key, token_ids, error=EngineFailed("the request does not fit into the paged KV cache"))
        return TokenDelta(key, token_ids, reason, logprobs=logprobs) if token_ids or reason else None

    def _end(self, key: int) -> None:
        del self._running[key]
        self._admission.release(key)

    def _recover(self) -> list[TokenDelta]:
        """Open a new pipeline and bring back all requests but those that make it fail."""
        suspects = self._joined or set(self._running)
        proven = [running for key, running in self._running.items() if key not in suspects]
        self._reopen(proven)
        deltas: list[TokenDelta] = []
        for key in sorted(suspects):
            running = self._running[key]
            try:
                self._enter(running)
                self._pipeline.step()
            except RuntimeError:
                self._end(key)
                deltas.append(TokenDelta(key, error=EngineFailed("the engine failed on this request")))
                self._reopen(proven)
            else:
                proven.append(running)
                deltas += self._read(proven)
                proven = [running for running in proven if running.generation.key in self._running]
        self._joined.clear()
        return deltas

    def _reopen(self, proven: Iterable[_Running]) -> None:
        for running in self._running.values():
            running.handle = None
        self._forget(list(self._leaving))
        self._pipeline = None  # before the new one is there: two would take twice the memory
        self._pipeline = open_pipeline(self._model_directory, self._config)
        for running in proven:
            self._enter(running)
