"""Ten times a second the engine loop notices clients that have gone, ends expired channels, and reports counters."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from triton_repo.engine.loop.best_effort import BestEffort
from triton_repo.engine.loop.channels import Channels
from triton_repo.engine.loop.delivery import Delivery
from triton_repo.engine.loop.live_requests import Counters, LiveRequests
from triton_repo.engine.runtimes.runtime import Runtime

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 0.1


class Housekeeping:
    """Called on the loop's thread, after every turn of the loop."""

    def __init__(
        self,
        runtime: Runtime,
        live: LiveRequests,
        channels: Channels,
        delivery: Delivery,
        observe: Callable[[Counters], None],
    ) -> None:
        self._runtime = runtime
        self._live = live
        self._channels = channels
        self._delivery = delivery
        self._observe = observe
        self._reports = BestEffort("the engine's counters could not be reported")
        self._questions = BestEffort("Triton could not be asked whether a client has gone")
        self._next_s = 0.0
        self._needed = True  # False: it has run since the last turn in which anything happened, and nothing is live

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until the next run; None if there is no need of one."""
        return max(0.0, self._next_s - now_s) if self._needed else None

    def run_if_due(self, now_s: float, run_commands: Callable[[], None]) -> None:
        """`run_commands` runs the commands that wait: the renewal of a channel may have waited for a long step."""
        self._needed = True
        if now_s < self._next_s:
            return
        self._next_s = now_s + INTERVAL_S
        for live in self._live:
            if self._questions.call(live.sink.abandoned, default=False):
                self._delivery.cancel(live)
        if self._channels.expired(now_s):
            run_commands()
        for name in self._channels.expired(now_s):
            logger.warning("channel %s was not renewed in time and is ended", name)
            self._delivery.end_channel(name)
        self._reports.call(self._report, None)
        self._needed = bool(self._live or self._channels)

    def again(self) -> None:
        """Run once more even if nothing is live: after a failure the counters have changed."""
        self._needed = True

    def _report(self) -> None:
        self._observe(self._live.count(self._runtime.load()))
