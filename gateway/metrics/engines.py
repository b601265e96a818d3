"""The engines as they are now: which are up, what they run, what waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from prometheus_client import Metric

from gateway.admission.gate import waiting_for
from gateway.admission.shares import sent_to
from gateway.admission.tally import Tally
from gateway.answers.backend import Backend
from triton_repo.contract.errors import RequestError
from triton_repo.contract.model_card import ModelCard

_PATIENCE_S: Final = 0.2  # for Triton to say which engines are ready; what it said last serves meanwhile


@dataclass(frozen=True, slots=True)
class EngineNow:
    """One engine; what it alone can tell is None where it does not.

    Attributes:
        sent: answers that the gateway has sent to it.
        waiting: those that wait for it in the gateway, and in its own queue.
        running: those that it works on, or, where it does not tell, has been sent.
        kv_use: the share of its KV cache that they hold.
    """

    model: str
    card: ModelCard | None
    is_up: bool
    sent: int
    waiting_here: int
    waiting_there: int = 0
    running: int = 0
    kv_use: float | None = None
    kv_blocks: int | None = None
    tokens_per_block: int | None = None

    @property
    def waiting(self) -> int:
        return self.waiting_here + self.waiting_there


class Engines:
    """Looked at for a scrape. All processes say the same, as they ask Triton and the shared tally."""

    def __init__(self, backend: Backend, tally: Tally) -> None:
        self._backend = backend
        self._tally = tally
        self._cards: Mapping[str, ModelCard] = {}
        self._is_answered = True
        self._reading: asyncio.Task[Mapping[str, ModelCard]] | None = None

    async def now(self, triton: Sequence[Metric], seen: Iterable[str]) -> list[EngineNow]:
        """In order of load, the busiest first.

        Args:
            triton: Triton's own metrics.
            seen: names of models that requests were answered by: one that was lost is still known by them.
        """
        await self._read_cards()
        gone = [model for model in {*self._cards, *seen} if model not in self._cards and self._stalls(model)]
        told = _told(triton)
        engines = [self._engine(model, told.get(model, {})) for model in (*self._cards, *gone)]
        return sorted(engines, key=lambda engine: (-engine.waiting, -engine.running, engine.model))

    async def _read_cards(self) -> None:
        if self._reading is None:
            self._reading = asyncio.create_task(_models(self._backend))
        await asyncio.wait({self._reading}, timeout=_PATIENCE_S)
        self._is_answered = self._reading.done() and self._reading.exception() is None
        if self._is_answered:
            self._cards = self._reading.result()
        if self._reading.done():
            self._reading = None

    def _stalls(self, model: str) -> bool:
        try:
            self._backend.check_progress(model)
        except RequestError:
            return True
        return False

    def _engine(self, model: str, told: Mapping[str, float]) -> EngineNow:
        sent = sent_to(self._tally, model).total()
        blocks, per_block = told.get("blocks"), told.get("tokens_per_block")
        return EngineNow(
            model,
            self._cards.get(model),
            is_up=self._is_answered and model in self._cards and not self._stalls(model),
            sent=sent,
            waiting_here=waiting_for(self._tally, model).total(),
            waiting_there=int(told.get("waiting", 0)),
            running=int(told.get("running", sent)),
            kv_use=told.get("kv_use"),
            kv_blocks=None if blocks is None else int(blocks),
            tokens_per_block=None if per_block is None else int(per_block),
        )


async def _models(backend: Backend) -> Mapping[str, ModelCard]:
    return await backend.models()


_TOLD: Final = {
    "conch_engine_kv_cache_utilization": "kv_use",
    "conch_engine_kv_cache_blocks": "blocks",
    "conch_engine_kv_cache_tokens_per_block": "tokens_per_block",
}

_MEAN: Final = ("kv_use", "tokens_per_block")


def _told(triton: Sequence[Metric]) -> dict[str, dict[str, float]]:
    """What each engine tells of itself through Triton (`triton_repo/engine/triton_metrics.py`), by model.

    An engine of several servers is told of as one: with all their requests and blocks, and the mean use of its caches.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for family in triton:
        for sample in family.samples:
            what = sample.labels.get("state") if sample.name == "conch_engine_requests" else _TOLD.get(sample.name)
            if what is not None:
                of_model = values.setdefault(sample.labels.get("model", ""), {})
                of_model.setdefault(what, []).append(sample.value)
    return {
        model: {what: fmean(every) if what in _MEAN else sum(every) for what, every in told.items()}
        for model, told in values.items()
    }
