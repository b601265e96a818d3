"""The `openvino` runtime: OpenVINO GenAI's continuous batching on the CPU, embedded in the engine model.

The pipeline (2026.4) does not keep to `max_batch_size` when contexts are chunked. And when its cache runs out under
requests that are half done, the blocks that it takes from one of them spoil the answers of others (with
`enable_kv_cache_reuse` or speculative decoding). So a request waits outside until all that it may need is free.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from triton_repo.contract.engine_config import OPENVINO_KV_BLOCK_SIZE, EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import EngineFailed
from triton_repo.contract.sampling import Guide
from triton_repo.engine.runtimes.openvino.batch import Batch, Sequence
from triton_repo.engine.runtimes.openvino.calibration import limit_of_step
from triton_repo.engine.runtimes.openvino.guides import Guides
from triton_repo.engine.runtimes.openvino.pipeline import cache_blocks, generation_config, num_blocks, open_pipeline
from triton_repo.engine.runtimes.openvino.vocabulary import vocabulary_of
from triton_repo.engine.runtimes.runtime import Generation, Load, TokenDelta

logger = logging.getLogger(__name__)


class OpenVinoRuntime:
    """Runs the model in `model_directory` (`openvino_model.xml`) with the limits of `config`."""

    def __init__(self, model_directory: Path, config: EngineConfig) -> None:
        self._guides = _guides(model_directory, config)
        self._config = config
        pipeline = self._open_pipeline(model_directory)
        limit = limit_of_step(pipeline, config)
        if limit < config.max_num_tokens:
            logger.info("a step of %s holds %d tokens, to take %g s at most", config.name, limit, config.max_gap_s)
            self._config = config.model_copy(update={"max_num_tokens": limit})
            del pipeline  # before the new one is opened: two would take twice the memory
            pipeline = self._open_pipeline(model_directory)
        self._waiting: dict[int, Sequence] = {}  # outside the pipeline, in order
        self._batch = Batch(
            pipeline,
            partial(self._open_pipeline, model_directory),
            self._generation_config,
            reads_prompts_whole=config.enable_kv_cache_reuse and config.enable_chunked_context,
        )

    def loaded_s(self) -> float:
        return self._batch.loaded_s

    def submit(self, generation: Generation) -> None:
        seed = generation.sampling.seed
        # The pipeline's own default is the same seed for every request.
        seed = secrets.randbits(32) if seed is None else seed % 2**64
        self._waiting[generation.key] = Sequence(generation, seed, self._num_blocks(generation))

    def cancel(self, key: int) -> None:
        if self._waiting.pop(key, None) is None:
            self._batch.cancel(key)

    def prepare(self, guide: Guide) -> None:
        """
        Raises:
            EngineFailed: it cannot be compiled.
        """
        if self._guides is None:
            raise EngineFailed("this engine has no guides")
        try:
            self._guides.compile(guide)
        except RuntimeError as error:
            logger.error("the OpenVINO pipeline rejects a guide: %s", error)
            raise EngineFailed("the engine rejects this guide") from error

    def step(self) -> list[TokenDelta]:
        self._batch.drop_cancelled()
        if self._guides is None:
            return self._step()
        self._renew_guides(self._guides)
        if self._batch.awaits_first_of_guided:
            self._guides.take_turn(wait=True)
        deltas = self._step()
        if not self._batch.awaits_first_of_guided:
            self._guides.leave_turn()
        return deltas

    def idle_s(self) -> float | None:
        if self._waiting or self._batch.has_work:
            return 0
        if self._guides is not None:
            self._guides.leave_turn()
        return None

    def load(self) -> Load:
        blocks, waiting = num_blocks(self._config.max_tokens_in_paged_kv_cache), len(self._waiting)
        if not self._batch.has_work:
            return Load(0, waiting, 0.0, blocks, OPENVINO_KV_BLOCK_SIZE)
        metrics = self._batch.metrics()
        running = min(metrics.scheduled_requests, self._batch.num_active)
        waiting += self._batch.num_active - running
        return Load(running, waiting, metrics.cache_usage / 100, blocks, OPENVINO_KV_BLOCK_SIZE)

    def close(self) -> None:
        self._waiting.clear()
        for sequence in list(self._batch):
            self._batch.cancel(sequence.key)

    def _open_pipeline(self, model_directory: Path) -> Any:
        return open_pipeline(model_directory, self._config, self._guides and self._guides.tokenizer)

    def _step(self) -> list[TokenDelta]:
        rejected = [] if self._batch.is_recovering else self._admit()
        return rejected + self._batch.step()

    def _renew_guides(self, guides: Guides) -> None:
        """Drop what was compiled before it takes too much memory. The streams that run wait for the new pipeline."""
        may = not self._batch.is_recovering and not self._batch.awaits_first_of_guided
        if may and guides.is_full(idle=not self._batch.num_active) and guides.take_turn(wait=False):
            logger.info("%s drops the guides that it has compiled", self._config.name)
            guides.renew()
            self._batch.renew()

    def _may_enter(self, sequence: Sequence) -> bool:
        return not sequence.is_guided or self._guides is None or self._guides.take_turn(wait=False)

    def _num_blocks(self, generation: Generation) -> int:
        """The most blocks that a generation may need; 0 where the pipeline may take them back without harm."""
        if not self._config.enable_kv_cache_reuse and self._config.speculative is None:
            return 0
        candidates = self._config.speculative.num_assistant_tokens if self._config.speculative else 0
        return num_blocks(len(generation.input_ids) + generation.max_tokens + candidates)

    def _admit(self) -> list[TokenDelta]:
        """Add waiting requests to the batch, in order, while there is room. Returns the errors of rejected ones."""
        rejected = []
        for key, sequence in list(self._waiting.items()):
            held = [other.num_blocks for other in self._batch]
            if not has_room(held, sequence.num_blocks, self._config.max_batch_size, cache_blocks(self._config)):
                break
            if not self._may_enter(sequence):
                continue
            del self._waiting[key]
            try:
                self._batch.add(sequence)
            except (RuntimeError, TypeError, ValueError) as error:
                logger.error("the OpenVINO pipeline rejects a request: %s", error)
                rejected.append(TokenDelta(key, error=EngineFailed("the engine rejects this request")))
        return rejected

    def _generation_config(self, sequence: Sequence) -> Any:
        return generation_config(
            sequence.generation, sequence.seed, len(sequence.carried_over), self._config.speculative
        )


def _guides(model_directory: Path, config: EngineConfig) -> Guides | None:
    """None where speculative decoding guesses tokens, which its grammars do not take back, or without a tokenizer."""
    engine = EngineDirectory(model_directory.parent)
    if config.speculative is not None or not engine.tokenizer_file.is_file():
        return None
    return Guides(vocabulary_of(engine, config))


def has_room(held: Iterable[int], needed: int, max_sequences: int, cache: int) -> bool:
    """Whether a sequence may join those that hold so many blocks each, in a cache of so many.

    One that alone is larger than the cache runs when nothing else does: rejecting it is the pipeline's business.
    """
    blocks = list(held)
    return not blocks or (len(blocks) < max_sequences and sum(blocks) + needed <= cache)
