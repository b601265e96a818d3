"""The requests that the engine works on, and counters of how earlier ones ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from triton_repo.engine.loop.early_cancels import EarlyCancels
from triton_repo.engine.loop.outlet import Live, Outlet
from triton_repo.engine.runtimes.runtime import Load

Outcome = Literal["finished", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Counters:
    """What the engine did since it started, and how busy it is."""

    load: Load
    live: int
    finished: int
    cancelled: int
    failed: int
    generated_tokens: int


class LiveRequests:
    """By key and by request id. A request with an empty id cannot be cancelled by id."""

    def __init__(self) -> None:
        self._by_key: dict[int, Live] = {}
        self._by_id: dict[str, Live] = {}
        self._early_cancels = EarlyCancels()
        self._ended: Counter[Outcome] = Counter()
        self.generated_tokens = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Live]:
        """A snapshot: requests may be removed during the iteration."""
        return iter(list(self._by_key.values()))

    def add(self, live: Live) -> bool:
        """Whether it may run: False if it was cancelled before it arrived."""
        self._by_key[live.key] = live
        if live.request_id:
            self._by_id[live.request_id] = live
        return not self._early_cancels.take(live.request_id)

    def get(self, key: int) -> Live | None:
        return self._by_key.get(key)

    def by_id(self, request_id: str) -> Live | None:
        return self._by_id.get(request_id)

    def on_outlet(self, outlet: Outlet) -> list[Live]:
        return [live for live in self._by_key.values() if live.outlet is outlet]

    def remove(self, live: Live, outcome: Outcome) -> None:
        del self._by_key[live.key]
        live.outlet.forget(live)
        self._ended[outcome] += 1
        if outcome != "failed":  # its sink is told the error, and tells its trace
            live.stream.trace.end("" if outcome == "finished" else outcome)
        if live.request_id:
            del self._by_id[live.request_id]
            self._early_cancels.ended(live.request_id)

    def cancel_on_arrival(self, request_id: str) -> None:
        """Note the cancellation of a request that is not live: unless it has just ended, it has yet to arrive."""
        self._early_cancels.add(request_id)

    def channel_ended(self, name: str) -> None:
        """Note that a channel has ended: a late `stop` of it must not cancel a request of that name."""
        self._early_cancels.ended(name)

    def count(self, load: Load) -> Counters:
        ended = self._ended
        return Counters(load, len(self), ended["finished"], ended["cancelled"], ended["failed"], self.generated_tokens)
