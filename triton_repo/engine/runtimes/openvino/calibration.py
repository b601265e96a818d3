"""How many tokens a step may hold, so that running streams do not wait too long for it: measured at the start.

A step computes one token for each running stream and fills up with tokens of new prompts. The pipeline (2026.4) takes
the most that a step may hold when it is opened, and not later. So its speed is measured with two prompts, and it is
opened once more if its steps would take too long.
"""

from __future__ import annotations

import time
from itertools import count
from random import Random
from typing import Any, Final

import numpy as np
import openvino

from triton_repo.contract.engine_config import OPENVINO_KV_BLOCK_SIZE, EngineConfig
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.openvino.pipeline import generation_config
from triton_repo.engine.runtimes.runtime import Generation

_SHORT, _LONG = 16, 96  # tokens of the two prompts
_QUICK_S: Final = 1.0  # a prompt that takes less is measured twice: whatever else the machine does only slows it down


def limit_of_step(pipeline: Any, config: EngineConfig) -> int:
    """The `max_num_tokens` with which a step takes about `max_gap_s` at most; never more than the engine's own.

    The pipeline must be idle. What fits is rounded down to a power of two, so that it is the same at every start of the
    engine on one machine, unless the measurement lies near a boundary.
    """
    long = min(_LONG, config.max_num_tokens, config.max_seq_len - 1)
    if not config.max_gap_s or not config.enable_chunked_context or long <= _SHORT:
        return config.max_num_tokens
    prompts = _Prompts(pipeline, config)
    prompts.time_s(_SHORT)  # the first one takes longer than others
    times = {num_tokens: prompts.best_time_s(num_tokens) for num_tokens in (_SHORT, long)}
    return min(config.max_num_tokens, tokens_within(config.max_gap_s, times, smallest_step(config)))


def smallest_step(config: EngineConfig) -> int:
    """Room for the token of every running stream, with its candidates, and for some tokens of a prompt."""
    candidates = config.speculative.num_assistant_tokens if config.speculative else 0
    return config.max_batch_size * (1 + candidates) + OPENVINO_KV_BLOCK_SIZE


def tokens_within(gap_s: float, times_s: dict[int, float], smallest: int) -> int:
    """The largest power of two of tokens that are computed within `gap_s`, but room for `smallest`.

    Args:
        times_s: by number of tokens, of two numbers; between and beyond them time grows evenly.
    """
    (few, few_s), (many, many_s) = sorted(times_s.items())
    per_token_s = max(many_s - few_s, 1e-9) / (many - few)
    fitting = few + (gap_s - few_s) / per_token_s
    return max(_power_of_two_up_to(fitting), 2 * _power_of_two_up_to(smallest - 1))


def _power_of_two_up_to(number: float) -> int:
    """At least 1."""
    return 1 << (max(1, int(number)).bit_length() - 1)


class _Prompts:
    """Prompts of random tokens, none of which the pipeline has in its cache."""

    def __init__(self, pipeline: Any, config: EngineConfig) -> None:
        self._pipeline = pipeline
        self._config = config
        self._random = Random(0)  # noqa: S311 - no secret
        self._keys = count()

    def best_time_s(self, num_tokens: int) -> float:
        time_s = self.time_s(num_tokens)
        return min(time_s, self.time_s(num_tokens)) if time_s < _QUICK_S else time_s

    def time_s(self, num_tokens: int) -> float:
        """Seconds from the prompt to its first token."""
        ids = self._random.choices(range(self._config.vocab_size), k=num_tokens)
        generation = Generation(next(self._keys), ids, 1, (), Sampling(temperature=0.0))
        config = generation_config(generation, 0, 0, self._config.speculative)
        began_s = time.perf_counter()
        handle = self._pipeline.add_request(generation.key, openvino.Tensor(np.array([ids], dtype=np.int64)), config)
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        handle.read_all()
        return time.perf_counter() - began_s
