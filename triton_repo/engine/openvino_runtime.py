"""The `openvino` runtime: OpenVINO GenAI's continuous batching on the CPU, embedded in the engine model.

A step that raises poisons the whole pipeline: every later step raises too, for every request. So on a failure the
pipeline is opened anew, the requests that had already run go on from where they were, and those that joined since
the last good step are let in one by one, so that only the culprit fails.
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

from triton_repo.engine.config import EngineConfig
from triton_repo.engine.runtime import Generation, Load, TokenDelta
from triton_repo.errors import EngineFailed
from triton_repo.tensors import FinishReason

logger = logging.getLogger(__name__)

# Tokens in one block of the CPU plugin's paged attention.
KV_BLOCK_SIZE: Final = 32
_PRECISIONS: Final = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "u8": "u8"}
_LARGEST_MIN_P: Final = 1 - 1e-6  # the pipeline refuses 1, which asks for the most likely token alone
_LOWEST_TEMPERATURE: Final = 1e-6  # below, logits divided by it overflow; greedy decoding is what is meant
_FINISH_REASONS: Final[dict[Any, FinishReason]] = {
    openvino_genai.GenerationFinishReason.NONE: "",
    openvino_genai.GenerationFinishReason.STOP: "stop",
    openvino_genai.GenerationFinishReason.LENGTH: "length",
}


@dataclass(slots=True)
class _Running:
    generation: Generation
    seed: int
    handle: Any = None
    generated: list[int] = field(default_factory=list)


class OpenVinoRuntime:
    """Runs the model in `model_directory` (`openvino_model.xml`) with the limits of `config`."""

    def __init__(self, model_directory: Path, config: EngineConfig) -> None:
        self._model_directory = model_directory
        self._config = config
        self._running: dict[int, _Running] = {}
        self._joined: set[int] = set()  # since the last good step
        self._pipeline = open_pipeline(self._model_directory, self._config)

    def submit(self, generation: Generation) -> None:
        seed = generation.sampling.seed
        # The pipeline's own default is the same seed for every request.
        running = _Running(generation, secrets.randbits(32) if seed is None else seed % 2**64)
        self._running[generation.key] = running
        self._joined.add(generation.key)
        try:
            self._enter(running)
        except (RuntimeError, TypeError, ValueError) as error:  # its own checks, and its bindings'
            self._forget(generation.key)
            logger.error("the OpenVINO pipeline refuses a request: %s", error)
            raise EngineFailed("the engine refuses this request") from error

    def cancel(self, key: int) -> None:
        running = self._forget(key)
        if running is not None and running.handle is not None:
            running.handle.cancel()

    def step(self) -> Sequence[TokenDelta]:
        if not self._pipeline.has_non_finished_requests():
            return ()
        try:
            self._pipeline.step()
        except RuntimeError as error:
            logger.error("a step of the OpenVINO pipeline failed: %s", error)
            return self._recover()
        self._joined.clear()
        return self._read(list(self._running.values()))

    def idle_s(self) -> float | None:
        return 0 if self._pipeline.has_non_finished_requests() else None

    def load(self) -> Load:
        if not self._pipeline.has_non_finished_requests():
            return Load(0, 0, 0.0)  # the pipeline's metrics stay at those of its last step with work in it
        metrics = self._pipeline.get_metrics()
        running = min(metrics.scheduled_requests, len(self._running))
        return Load(running, len(self._running) - running, metrics.cache_usage / 100)

    def close(self) -> None:
        for key in list(self._running):
            self.cancel(key)

    def _forget(self, key: int) -> _Running | None:
        self._joined.discard(key)
        return self._running.pop(key, None)

    def _enter(self, running: _Running) -> None:
        """Add a request to the pipeline; one that ran before a failure goes on behind what it has generated."""
        ids = np.array([[*running.generation.input_ids, *running.generated]], dtype=np.int64)
        running.handle = self._pipeline.add_request(
            running.generation.key, openvino.Tensor(ids), self._generation_config(running)
        )

    def _generation_config(self, running: _Running) -> Any:
        generation, done = running.generation, len(running.generated)
        sampling = generation.sampling
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = generation.max_tokens - done
        config.min_new_tokens = max(0, (sampling.min_tokens or 0) - done)
        config.ignore_eos = not generation.end_ids
        if generation.end_ids:
            config.set_eos_token_id(generation.end_ids[0])
            config.stop_token_ids = set(generation.end_ids)
        config.repetition_penalty = _given(sampling.repetition_penalty, 1.0)
        config.frequency_penalty = _given(sampling.frequency_penalty, 0.0)
        config.presence_penalty = _given(sampling.presence_penalty, 0.0)
        temperature = _given(sampling.temperature, 1.0)
        if temperature >= _LOWEST_TEMPERATURE:
            config.do_sample = True
            config.temperature = temperature
            config.rng_seed = running.seed
            config.top_p = _given(sampling.top_p, 1.0)
            config.min_p = min(_given(sampling.min_p, 0.0), _LARGEST_MIN_P)
            if (sampling.top_k or 0) > 0:
                config.top_k = sampling.top_k
        return config

    def _read(self, runnings: Iterable[_Running]) -> list[TokenDelta]:
        deltas = (self._read_one(running) for running in runnings)
        return [delta for delta in deltas if delta is not None]

    def _read_one(self, running: _Running) -> TokenDelta | None:
        key, handle = running.generation.key, running.handle
        token_ids: list[int] = []
        reason: FinishReason = ""
        while handle.can_read():
            for output in handle.read().values():
                token_ids += output.generated_ids
                reason = _FINISH_REASONS[output.finish_reason]
        running.generated += token_ids
        if reason:
            del self._running[key]
        elif handle.get_status() == openvino_genai.GenerationStatus.IGNORED:
            del self._running[key]
            return TokenDelta(key, token_ids, error=EngineFailed("the request does not fit into the paged KV cache"))
        return TokenDelta(key, token_ids, reason) if token_ids or reason else None

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
                del self._running[key]
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
        self._pipeline = None  # before the new one is there: two would take twice the memory
        self._pipeline = open_pipeline(self._model_directory, self._config)
        for running in proven:
            self._enter(running)


def open_pipeline(model_directory: Path, config: EngineConfig) -> Any:
    """OpenVINO GenAI's continuous batching on the model, with the engine's limits, cache and precisions."""
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = config.max_num_tokens
    scheduler.max_num_seqs = config.max_batch_size
    scheduler.num_kv_blocks = -(-config.max_tokens_in_paged_kv_cache // KV_BLOCK_SIZE)
    scheduler.enable_prefix_caching = config.enable_kv_cache_reuse
    scheduler.dynamic_split_fuse = config.enable_chunked_context
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[config.dtype],
        "KV_CACHE_PRECISION": _PRECISIONS[config.kv_cache_dtype],
    }
    if config.num_threads is not None:
        properties["INFERENCE_NUM_THREADS"] = config.num_threads
    return openvino_genai.ContinuousBatchingPipeline(model_directory, scheduler, "CPU", properties)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
