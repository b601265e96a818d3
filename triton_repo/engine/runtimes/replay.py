"""The `replay` runtime: plays one text, or the prompt, at a set pace, without a model.

Deterministic, for tests, benchmarks and demos of the serving path. A generation gets the text's ids from the start;
without `ignore_eos` it ends with the text, with it the text is repeated until `max_tokens`. Its logprobs are made up:
the tokens are in turn the most likely, the second and the third of all; their alternatives are ids of the same text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from triton_repo.contract.engine_config import ReplayConfig
from triton_repo.contract.logprobs import TokenLogprob
from triton_repo.contract.sampling import MAX_LOGPROBS
from triton_repo.engine.runtimes.runtime import Generation, Load, TokenDelta


@dataclass(slots=True)
class _Playing:
    key: int
    ids: Sequence[int]
    length: int  # tokens to play
    length_reason: bool  # it ends by max_tokens, not with the text
    start_s: float
    num_alternatives: int | None  # None asks for no logprobs
    played: int = 0


class ReplayRuntime:
    """Plays `config.token_ids`, or the prompt, at most one token per generation and step, as an engine that decodes."""

    def __init__(self, config: ReplayConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._ids = None if config.echo else config.token_ids
        self._pace = config.tokens_per_second
        self._clock = clock
        self._playing: dict[int, _Playing] = {}

    def submit(self, generation: Generation) -> None:
        ids = self._ids or generation.input_ids
        whole = len(ids)
        endless = bool(generation.sampling.ignore_eos) or (generation.sampling.min_tokens or 0) > whole
        cut = endless or generation.max_tokens < whole
        length = generation.max_tokens if cut else whole
        self._playing[generation.key] = _Playing(
            generation.key, ids, length, cut, self._clock(), generation.sampling.logprobs
        )

    def cancel(self, key: int) -> None:
        self._playing.pop(key, None)

    def step(self) -> Sequence[TokenDelta]:
        now_s = self._clock()
        due = [playing for playing in self._playing.values() if not self._pace or self._due_s(playing) <= now_s]
        return [
            self._play(playing) if playing.num_alternatives is None else self._play_with_logprobs(playing)
            for playing in due
        ]

    def idle_s(self) -> float | None:
        if not self._playing:
            return None
        if self._pace == 0:
            return 0
        return max(0.0, min(map(self._due_s, self._playing.values())) - self._clock())

    def load(self) -> Load:
        return Load(running=len(self._playing), waiting=0, kv_cache_utilization=0.0)

    def close(self) -> None:
        self._playing.clear()

    def _due_s(self, playing: _Playing) -> float:
        return playing.start_s + playing.played / self._pace if self._pace else 0.0

    def _play(self, playing: _Playing) -> TokenDelta:
        token_id = playing.ids[playing.played % len(playing.ids)]
        playing.played += 1
        if playing.played < playing.length:
            return TokenDelta(playing.key, (token_id,))
        del self._playing[playing.key]
        return TokenDelta(playing.key, (token_id,), "length" if playing.length_reason else "stop")

    def _play_with_logprobs(self, playing: _Playing) -> TokenDelta:
        place = playing.played
        delta = self._play(playing)
        [token_id] = delta.token_ids
        others = [id for id in _some_ids(playing.ids, place) if id != token_id]
        rank = min(place % 3, len(others))
        ranking = [*others[:rank], token_id, *others[rank:]][: playing.num_alternatives]
        top = [(id, _logprob(at)) for at, id in enumerate(ranking)]
        return delta._replace(logprobs=(TokenLogprob(_logprob(rank), top),))


def _some_ids(ids: Sequence[int], place: int) -> list[int]:
    vocabulary = [*dict.fromkeys(ids)]
    size = len(vocabulary)
    return [vocabulary[(place + at) % size] for at in range(min(size, MAX_LOGPROBS + 1))]


def _logprob(rank: int) -> float:
    return -0.5 * (rank + 1)
