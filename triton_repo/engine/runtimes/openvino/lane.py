"""The requests for one pipeline: its batch, and those that wait for room in it.

The pipeline (2026.4) does not keep to `max_batch_size` when contexts are chunked. And when its cache runs out under
requests that are half done, the blocks that it takes from one of them spoil the answers of others (with
`enable_kv_cache_reuse` or speculative decoding). So a request waits outside until all that it may need is free.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from triton_repo.contract.engine_config import OPENVINO_KV_BLOCK_SIZE, EngineConfig
from triton_repo.contract.errors import EngineFailed
from triton_repo.engine.runtimes.openvino.batch import Batch
from triton_repo.engine.runtimes.openvino.pipeline import cache_blocks, num_blocks
from triton_repo.engine.runtimes.openvino.sequence import Sequence
from triton_repo.engine.runtimes.runtime import Generation, Load, TokenDelta

logger = logging.getLogger(__name__)


class Lane:
    """
    Args:
        config: its `max_tokens_in_paged_kv_cache` is the cache of this pipeline.
        may_enter: whether a request may join the batch before the next step; those behind it may pass it.
    """

    def __init__(self, batch: Batch, config: EngineConfig, may_enter: Callable[[Sequence], bool]) -> None:
        self.batch = batch
        self._config = config
        self._may_enter = may_enter
        self._waiting: dict[int, Sequence] = {}  # in order

    @property
    def has_work(self) -> bool:
        return bool(self._waiting) or self.batch.has_work

    def submit(self, generation: Generation, seed: int) -> None:
        self._waiting[generation.key] = Sequence(generation, seed, self._num_blocks(generation))

    def cancel(self, key: int) -> None:
        if self._waiting.pop(key, None) is None:
            self.batch.cancel(key)

    def step(self) -> list[TokenDelta]:
        rejected = [] if self.batch.is_recovering else self._admit()
        return rejected + self.batch.step()

    def load(self) -> Load:
        blocks, waiting = num_blocks(self._config.max_tokens_in_paged_kv_cache), len(self._waiting)
        if not self.batch.has_work:
            return Load(0, waiting, 0.0, blocks, OPENVINO_KV_BLOCK_SIZE)
        metrics = self.batch.metrics()
        running = min(metrics.scheduled_requests, self.batch.num_active)
        waiting += self.batch.num_active - running
        return Load(running, waiting, metrics.cache_usage / 100, blocks, OPENVINO_KV_BLOCK_SIZE)

    def close(self) -> None:
        self._waiting.clear()
        for sequence in list(self.batch):
            self.batch.cancel(sequence.key)

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
            held = [other.num_blocks for other in self.batch]
            if not has_room(held, sequence.num_blocks, self._config.max_batch_size, cache_blocks(self._config)):
                break
            if not self._may_enter(sequence):
                continue
            del self._waiting[key]
            try:
                self.batch.add(sequence)
            except (RuntimeError, TypeError, ValueError) as error:
                logger.error("the OpenVINO pipeline rejects a request: %s", error)
                rejected.append(TokenDelta(key, error=EngineFailed("the engine rejects this request")))
        return rejected


def has_room(held: Iterable[int], needed: int, max_sequences: int, cache: int) -> bool:
    """Whether a sequence may join those that hold so many blocks each, in a cache of so many.

    One that alone is larger than the cache runs when nothing else does: rejecting it is the pipeline's business.
    """
    blocks = list(held)
    return not blocks or (len(blocks) < max_sequences and sum(blocks) + needed <= cache)
