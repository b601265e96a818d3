"""How long the engine has been at its running step, and what becomes of a process whose step never ends.

An exception fails the requests that are live; a step that hangs fails nothing by itself, and nothing outside sees it:
the process lives, its server answers health checks, and every client waits for ever. So the loop publishes its
progress, and another thread watches it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from triton_repo.contract.health.liveness import Age
from triton_repo.engine.loop.best_effort import BestEffort
from triton_repo.engine.runtimes.runtime import AsynchronousRuntime, ReloadingRuntime, Runtime

INTERVAL_S: Final = 1.0  # between two looks at the progress
# A step that is older than this is a stall: longer than any step should take, and a fraction of any `max_step_s`.
STALL_S: Final = 10.0


def look_interval_s(max_step_s: float) -> float:
    return min(INTERVAL_S, max_step_s / 4) if max_step_s else INTERVAL_S


class Progress:
    """Written by the loop's thread, read by any thread.

    A turn of the loop contains a step of the runtime. An asynchronous runtime computes outside of the turns: while
    requests are live, its step is as old as its last sign of work.
    """

    def __init__(self, runtime: Runtime, max_step_s: float = 0.0) -> None:
        """`max_step_s` as for the watchdog, which looks often enough."""
        self._age = Age(look_interval_s(max_step_s))
        self._asynchronous = runtime if isinstance(runtime, AsynchronousRuntime) else None
        self._reloading = runtime if isinstance(runtime, ReloadingRuntime) else None
        self._turn_began_s: float | None = None
        self._working_since_s: float | None = None

    def begin_turn(self) -> None:
        self._turn_began_s = time.monotonic()

    def end_turn(self, *, is_working: bool) -> None:
        """The loop is about to wait for something to do; `is_working` says that requests are live."""
        self._turn_began_s = None
        if not is_working:
            self._working_since_s = None
        elif self._working_since_s is None:
            self._working_since_s = time.monotonic()

    def step_age_s(self) -> float:
        """Seconds since the running step began, without those that the process was stopped; 0 if there is no step.

        Loading a model again is no step: a step in which that happened began when the model was loaded.
        """
        turn_began_s, working_since_s = self._turn_began_s, self._working_since_s
        began_s = [] if turn_began_s is None else [turn_began_s]
        if self._asynchronous is not None and working_since_s is not None:
            began_s.append(max(working_since_s, self._asynchronous.last_work_s()))
        if not began_s:
            return self._age.look(None)
        loaded_s = float("-inf") if self._reloading is None else self._reloading.loaded_s()
        return self._age.look(max(loaded_s, min(began_s)))


class Watchdog:
    """Reports the age of the running step, and calls `on_hang` once when it exceeds `max_step_s`; 0 is no limit.

    Each on a thread of its own: `observe` calls another process, which may hang or fail, and the limit holds all the
    same. An age below the interval is reported as 0: that of an engine that makes progress.
    """

    def __init__(
        self, progress: Progress, max_step_s: float, observe: Callable[[float], None], on_hang: Callable[[float], None]
    ) -> None:
        self._progress = progress
        self._max_step_s = max_step_s
        self._interval_s = look_interval_s(max_step_s)
        self._observe = observe
        self._on_hang = on_hang
        self._closed = threading.Event()
        threading.Thread(target=self._report, name="engine-step-age", daemon=True).start()
        if max_step_s:
            threading.Thread(target=self._check, name="engine-watchdog", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _check(self) -> None:
        while not self._closed.wait(self._interval_s):
            age_s = self._progress.step_age_s()
            if age_s > self._max_step_s:
                self._on_hang(age_s)
                return

    def _report(self) -> None:
        reports = BestEffort("the age of the running step could not be reported")
        while not self._closed.wait(self._interval_s):
            age_s = self._progress.step_age_s()
            reports.call(partial(self._observe, age_s if age_s >= self._interval_s else 0.0), None)
