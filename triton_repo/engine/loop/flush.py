"""When a stream's waiting tokens are sent: the cost of a stream is its messages, not its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from triton_repo.engine.loop.outlet import Live, Outlet

# One message costs 0.2 to 0.4 ms of CPU on its way through Triton, the stubs and the gateway. With one per stream and
# `live × MESSAGE_SPACING_S`, all live streams together take a third of a core, however many they are, and a burst
# does not feed on itself: messages take the CPU from the engine, so that each of them brings fewer tokens.
MESSAGE_SPACING_S: Final = 0.001
# The number of streams stretches no interval beyond this; from 80 streams on the share of CPU grows instead. A runtime
# whose own interval is longer keeps it.
LONGEST_STRETCH_S: Final = 0.08

# So many streams are few, and from twice as many on they are not.
FEW_STREAMS: Final = 4


@dataclass(frozen=True, slots=True)
class FlushIntervals:
    """Seconds between two messages of one stream: while few streams are live, and otherwise."""

    few_s: float
    many_s: float

    def at(self, num_live: int) -> float:
        """The interval for so many live streams: it grows with them, and again when they are a crowd.

        An interval of 0 sends every token at once, however many streams are live.
        """
        if self.many_s == 0:
            return 0.0
        grown_s = max(self.few_s, min(self.many_s, self.few_s * num_live / FEW_STREAMS))
        return max(grown_s, min(num_live * MESSAGE_SPACING_S, LONGEST_STRETCH_S))


class FlushClock:
    """Which outlets have something to send, and when it is due. `num_live` is the number of live requests."""

    def __init__(self, intervals: FlushIntervals) -> None:
        self._intervals = intervals
        self._outlets: dict[Outlet, None] = {}  # those with something to send, the one that has waited longest first

    def note(self, live: Live) -> None:
        """Look at what a stream has to send; to be called when that has changed."""
        live.outlet.note(live)
        self._outlets[live.outlet] = None

    def wait_s(self, now_s: float, num_live: int) -> float | None:
        """Seconds until something is due; None if nothing waits."""
        interval_s = self._intervals.at(num_live)
        due = [due_s for outlet in self._outlets if (due_s := outlet.due_s(interval_s)) is not None]
        return max(0.0, min(due) - now_s) if due else None

    def take_due(self, now_s: float, num_live: int) -> Iterator[tuple[Outlet, list[Live]]]:
        """The messages that are due: an outlet, and the requests whose deltas make up its message."""
        interval_s = self._intervals.at(num_live)
        for outlet in list(self._outlets):
            due_s = outlet.due_s(interval_s)
            if due_s is None:
                del self._outlets[outlet]
            elif due_s <= now_s:
                yield outlet, outlet.take_due(now_s, interval_s)
