"""The `openvino` runtime of engines that tell the logprobs of prompts (`serve.prompt_logprobs`).

A request for them is scored first, a chunk with each step of the batch, and joins the batch then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.logprobs import TokenLogprob
from triton_repo.engine.runtimes.openvino.runtime import OpenVinoRuntime
from triton_repo.engine.runtimes.openvino.scorer import PromptScorer
from triton_repo.engine.runtimes.runtime import Generation, Load, TokenDelta


@dataclass(slots=True)
class _Scored:
    generation: Generation
    scores: list[TokenLogprob] = field(default_factory=list)
    chunks: Iterator[list[TokenLogprob]] | None = None


class ScoringOpenVinoRuntime(OpenVinoRuntime):
    def __init__(self, model_directory: Path, config: EngineConfig) -> None:
        super().__init__(model_directory, config)
        self._scorer = PromptScorer(model_directory, config)
        self._unscored: dict[int, _Scored] = {}  # in order
        self._scored: dict[int, _Scored] = {}  # in the batch, with no token yet

    def submit(self, generation: Generation) -> None:
        if generation.prompt_logprobs is not None:
            self._unscored[generation.key] = _Scored(generation)
        else:
            super().submit(generation)

    def cancel(self, key: int) -> None:
        self._scored.pop(key, None)
        if self._unscored.pop(key, None) is None:
            super().cancel(key)

    def step(self) -> list[TokenDelta]:
        if self._unscored:
            self._score(next(iter(self._unscored.values())))
        return [self._with_scores(delta) for delta in super().step()]

    def idle_s(self) -> float | None:
        idle_s = super().idle_s()
        return 0 if self._unscored else idle_s

    def load(self) -> Load:
        load = super().load()
        return replace(load, waiting=load.waiting + len(self._unscored))

    def close(self) -> None:
        self._unscored.clear()
        super().close()

    def _score(self, scored: _Scored) -> None:
        """Read one more chunk; behind the last one the request joins the batch."""
        generation = scored.generation
        if scored.chunks is None:
            scored.chunks = self._scorer.score(generation.input_ids, generation.prompt_logprobs or 0)
        scored.scores += next(scored.chunks)
        if len(scored.scores) > len(generation.input_ids):
            del self._unscored[generation.key]
            self._scored[generation.key] = scored
            super().submit(generation)

    def _with_scores(self, delta: TokenDelta) -> TokenDelta:
        """The first tokens with the scores of the prompt, and the very first with alternatives, if it has a logprob."""
        scored = self._scored.pop(delta.key, None)
        if scored is None or not delta.token_ids:
            return delta
        *of_prompt, of_first = scored.scores
        scored_delta = delta._replace(prompt_logprobs=of_prompt)
        num_top = scored.generation.sampling.logprobs
        if num_top is None:
            return scored_delta
        first, *others = delta.logprobs or [TokenLogprob(None)]
        return scored_delta._replace(logprobs=[first._replace(top=of_first.top[:num_top]), *others])
