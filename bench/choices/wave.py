"""One wave of requests through the engine's runtime, in this process, with nothing around it."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from bench.load.summary import percentile
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import BenchError
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.runtime import Generation, Runtime

GREEDY: Final = Sampling(temperature=0.0)
Ids = Sequence[int]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: exactly `tokens` are generated, whatever they say."""

    prompt: Ids
    tokens: int
    sampling: Sampling = GREEDY


@dataclass(frozen=True, slots=True)
class Work:
    """What one wave asks: `asked` all at once, and until they are answered `beside`, one after the other."""

    asked: Sequence[Ask]
    beside: Sequence[Ask] = ()


@dataclass(frozen=True, slots=True)
class Wave:
    """What a wave took. `gaps_s` are between two arrivals in one of the `asked`; `ttft_s` is of what came `beside`
    them, else of them; `arrivals` counts the iterations that brought a request something."""

    elapsed_s: float
    tokens: int
    arrivals: int
    ttft_s: Sequence[float]
    gaps_s: Sequence[float]

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.elapsed_s

    @property
    def tokens_per_arrival(self) -> float:
        return self.tokens / self.arrivals

    @property
    def ttft_ms(self) -> float | None:
        """Median."""
        return statistics.median(self.ttft_s) * 1000 if self.ttft_s else None

    @property
    def gap_p99_ms(self) -> float | None:
        value = percentile(sorted(self.gaps_s), 99)
        return None if value is None else value * 1000


@dataclass(slots=True)
class _Request:
    beside: bool
    start_s: float
    last_s: float | None = None
    ttft_s: float = 0.0


class Driver:
    """A runtime, its engine's settings changed as a choice asks."""

    def __init__(self, engine: Path, settings: dict[str, Any]) -> None:
        from triton_repo.engine.runtimes.openvino.runtime import OpenVinoRuntime

        config = EngineConfig.model_validate(EngineConfig.load(engine).model_dump() | settings)
        self._runtime: Runtime = OpenVinoRuntime(EngineDirectory(engine).model.path, config)
        self._keys = count(1)

    def answers(self, prompts: Sequence[Ids], tokens: int) -> list[list[int]]:
        """What the model answers, greedily."""
        keys = [self._submit(Ask(prompt, tokens)) for prompt in prompts]
        said: dict[int, list[int]] = {key: [] for key in keys}
        while self._runtime.idle_s() is not None:
            for delta in self._runtime.step():
                said[delta.key] += delta.token_ids
        return [said[key] for key in keys]

    def wave(self, work: Work) -> Wave:
        """Run until the last of `work.asked` is answered."""
        started_s = time.perf_counter()
        live = {self._submit(ask): _Request(beside=False, start_s=started_s) for ask in work.asked}
        requests = list(live.values())
        waiting = deque(work.beside)
        tokens = arrivals = 0
        gaps_s: list[float] = []
        while any(not request.beside for request in live.values()):
            if waiting and not any(request.beside for request in live.values()):
                request = _Request(beside=True, start_s=time.perf_counter())
                live[self._submit(waiting.popleft())] = request
                requests.append(request)
            for delta in self._runtime.step():
                if delta.error is not None:
                    raise BenchError(f"the engine failed: {delta.error}")
                tokens += len(delta.token_ids)
                arrivals += 1
                _arrived(live[delta.key], gaps_s)
                if delta.finish_reason:
                    del live[delta.key]
        elapsed_s = time.perf_counter() - started_s
        for key in live:
            self._runtime.cancel(key)
        while self._runtime.idle_s() is not None:
            self._runtime.step()
        seen = [request for request in requests if request.last_s and request.beside == bool(work.beside)]
        return Wave(elapsed_s, tokens, arrivals, [request.ttft_s for request in seen], gaps_s)

    def _submit(self, ask: Ask) -> int:
        key = next(self._keys)
        self._runtime.submit(Generation(key, ask.prompt, ask.tokens, (), ask.sampling))
        return key


def _arrived(request: _Request, gaps_s: list[float]) -> None:
    now_s = time.perf_counter()
    if request.last_s is None:
        request.ttft_s = now_s - request.start_s
    elif not request.beside:
        gaps_s.append(now_s - request.last_s)
    request.last_s = now_s
