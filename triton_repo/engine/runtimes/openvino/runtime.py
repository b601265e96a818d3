"""The `openvino` runtime: OpenVINO GenAI's continuous batching on the CPU, embedded in the engine model.

A step of a pipeline (2026.4) computes with one adapter for all of its requests: only `generate`, which waits for their
end, changes it. So each adapter has a pipeline of its own, with a cache of its own, and they make their steps in turn.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from triton_repo.contract.engine_config import OPENVINO_KV_BLOCK_SIZE, EngineConfig
from triton_repo.contract.engine_directory import FITTED, EngineDirectory
from triton_repo.contract.errors import EngineFailed
from triton_repo.contract.sampling import Guide
from triton_repo.engine.runtimes.openvino.batch import Batch
from triton_repo.engine.runtimes.openvino.calibration import limit_of_step
from triton_repo.engine.runtimes.openvino.guides import Guides
from triton_repo.engine.runtimes.openvino.lane import Lane
from triton_repo.engine.runtimes.openvino.pipeline import (
    generation_config,
    open_pipeline,
    warm_up,
    with_own_cache,
)
from triton_repo.engine.runtimes.openvino.sequence import Sequence
from triton_repo.engine.runtimes.openvino.vocabulary import vocabulary_of
from triton_repo.engine.runtimes.runtime import Generation, Load, TokenDelta, adapter_unloaded

logger = logging.getLogger(__name__)


class OpenVinoRuntime:
    """Runs the model in `model_directory` (`openvino_model.xml`) with the limits of `config`, and its adapters."""

    def __init__(self, model_directory: Path, config: EngineConfig) -> None:
        self._guides = _guides(model_directory, config)
        self._config = with_own_cache(config)
        self._model = model_directory
        pipeline = self._open_pipeline(None)
        limit = limit_of_step(pipeline, config)
        if limit < config.max_num_tokens:
            logger.info("a step of %s holds %d tokens, to take %g s at most", config.name, limit, config.max_gap_s)
            self._config = self._config.model_copy(update={"max_num_tokens": limit})
            del pipeline  # before the new one is opened: two would take twice the memory
            pipeline = self._open_pipeline(None)
        self._lanes: dict[str | None, Lane] = {None: self._lane(None, pipeline)}
        for adapter in config.card.adapters:
            file = EngineDirectory(model_directory.parent).adapter(adapter) / FITTED
            self._lanes[adapter] = self._lane(file, self._open_pipeline(file))
        self._turns = deque(self._lanes.values())

    def loaded_s(self) -> float:
        return max(lane.batch.loaded_s for lane in list(self._lanes.values()))

    def open_adapter(self, name: str, directory: Path) -> Callable[[], None]:
        """The pipeline opens without the GIL, and so does it make its first steps, which take long."""
        guides = self._guides and self._guides.tokenizer
        try:
            pipeline = self._open_pipeline(directory / FITTED)
            warm_up(pipeline, self._config)
        except RuntimeError as error:
            logger.error("the OpenVINO pipeline cannot be opened with adapter %s: %s", name, error)
            raise EngineFailed(f"the engine cannot open the adapter {name}") from error
        lane = self._lane(directory / FITTED, pipeline)

        def add() -> None:
            if (self._guides and self._guides.tokenizer) is not guides:  # they were renewed while it was opened
                lane.batch.renew()  # first: a lane that cannot be must not be found
            self._lanes[name] = lane
            self._turns.append(lane)

        return add

    def close_adapter(self, name: str) -> None:
        lane = self._lanes.pop(name)
        self._turns.remove(lane)
        lane.close()

    def submit(self, generation: Generation) -> None:
        lane = self._lanes.get(generation.sampling.lora_name)
        if lane is None:
            raise adapter_unloaded(generation.sampling.lora_name)
        seed = generation.sampling.seed
        # The pipeline's own default is the same seed for every request.
        lane.submit(generation, secrets.randbits(32) if seed is None else seed % 2**64)

    def cancel(self, key: int) -> None:
        for lane in self._lanes.values():
            lane.cancel(key)

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
        for lane in self._lanes.values():
            lane.batch.drop_cancelled()
        if self._guides is None:
            return self._step()
        self._renew_guides(self._guides)
        if self._awaits_first_of_guided():
            self._guides.take_turn(wait=True)
        deltas = self._step()
        if not self._awaits_first_of_guided():
            self._guides.leave_turn()
        return deltas

    def idle_s(self) -> float | None:
        if any(lane.has_work for lane in self._lanes.values()):
            return 0
        if self._guides is not None:
            self._guides.leave_turn()
        return None

    def load(self) -> Load:
        loads = [lane.load() for lane in self._lanes.values()]
        return Load(
            sum(load.running for load in loads),
            sum(load.waiting for load in loads),
            sum(load.kv_cache_utilization for load in loads) / len(loads),
            sum(load.kv_cache_blocks for load in loads),
            OPENVINO_KV_BLOCK_SIZE,
        )

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.close()

    def _lane(self, adapter: Path | None, pipeline: Any) -> Lane:
        batch = Batch(
            pipeline,
            partial(self._open_pipeline, adapter),
            self._generation_config,
            reads_prompts_whole=self._config.enable_kv_cache_reuse and self._config.enable_chunked_context,
        )
        return Lane(batch, self._config, self._may_enter)

    def _open_pipeline(self, adapter: Path | None) -> Any:
        return open_pipeline(self._model, self._config, self._guides and self._guides.tokenizer, adapter)

    def _step(self) -> list[TokenDelta]:
        """Of the next pipeline that has work."""
        lane = next((lane for lane in self._turns if lane.has_work), None)
        if lane is None:
            return []
        self._turns.remove(lane)
        self._turns.append(lane)  # its next turn is after that of all others
        return lane.step()

    def _renew_guides(self, guides: Guides) -> None:
        """Drop what was compiled before it takes too much memory. The streams that run wait for the new pipelines."""
        batches = [lane.batch for lane in self._lanes.values()]
        may = not any(batch.is_recovering or batch.awaits_first_of_guided for batch in batches)
        idle = not any(batch.num_active for batch in batches)
        if may and guides.is_full(idle=idle) and guides.take_turn(wait=False):
            logger.info("%s drops the guides that it has compiled", self._config.name)
            guides.renew()
            for batch in batches:
                batch.renew()

    def _awaits_first_of_guided(self) -> bool:
        return any(lane.batch.awaits_first_of_guided for lane in self._lanes.values())

    def _may_enter(self, sequence: Sequence) -> bool:
        return not sequence.is_guided or self._guides is None or self._guides.take_turn(wait=False)

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
