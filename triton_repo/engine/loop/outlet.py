"""Where deltas are sent: as responses of their own request, or on a channel together with those of other requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from triton_repo.contract.errors import RequestError
from triton_repo.engine.loop.stream import Emission, Stream


class Sink(Protocol):
    """Answers one Triton request. After an error or an end nothing more is sent."""

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:
        """Send one response with these deltas; `final` says that it is the request's last."""

    def end(self) -> None:
        """End the request without a further response."""

    def fail(self, error: RequestError) -> None: ...

    def abandoned(self) -> bool:
        """Whether the client is known to have gone."""


@dataclass(slots=True, eq=False)
class Live:
    """One live request: its deltas go to its `outlet`, its end and its error to its own `sink`."""

    key: int
    request_id: str
    stream: Stream
    sink: Sink
    outlet: Outlet


class Outlet:
    """One Triton request whose responses carry deltas, and when the last of them was sent.

    All streams of a channel are flushed together: the cost of a stream is its messages, not its tokens.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._waiting: dict[int, Live] = {}
        self._urgent: set[int] = set()
        self._last_flush_s = float("-inf")

    def note(self, live: Live) -> None:
        """Look at what a stream has to send; to be called when that has changed."""
        stream = live.stream
        if live.key in self._waiting and not stream.finish_reason:
            return  # called for every stream of a full batch at every step: no more work than needed
        if stream.waits:
            self._waiting[live.key] = live
            if stream.urgent:
                self._urgent.add(live.key)

    def forget(self, live: Live) -> None:
        self._waiting.pop(live.key, None)
        self._urgent.discard(live.key)

    def due_s(self, interval_s: float) -> float | None:
        """When, on the monotonic clock, the next message is due; None if nothing waits."""
        if not self._waiting:
            return None
        return 0.0 if self._urgent else self._last_flush_s + interval_s

    def take_due(self, now_s: float, interval_s: float) -> list[Live]:
        """The requests whose deltas make up that message: all that wait, or between two flushes the urgent ones."""
        due = list(self._waiting.values())
        if now_s < self._last_flush_s + interval_s:
            due = [live for live in due if live.key in self._urgent]
        for live in due:
            del self._waiting[live.key]
        self._urgent.clear()
        if not self._waiting:
            self._last_flush_s = now_s
        return due
