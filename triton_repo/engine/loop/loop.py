"""The engine's one thread: runs what clients ask between two steps, steps the runtime, sends what is due.

Everything that happens to a request happens on this thread, in order, so a request ends exactly once: by a finish
reason or by an error, whichever comes first. Only where this thread hangs does the watchdog answer in its place.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from triton_repo.contract.errors import EngineFailed, EngineUnavailable
from triton_repo.engine.loop.channels import Channels
from triton_repo.engine.loop.command_runner import CommandRunner, shutting_down
from triton_repo.engine.loop.commands import (
    AddAdapter,
    Close,
    CloseAdapter,
    Command,
    Renew,
    Stop,
    Submit,
    Subscribe,
    Wake,
)
from triton_repo.engine.loop.delivery import Delivery
from triton_repo.engine.loop.flush import FlushClock, FlushIntervals
from triton_repo.engine.loop.housekeeping import Housekeeping
from triton_repo.engine.loop.last_errors import reject_waiting, send_last_errors, stack_of
from triton_repo.engine.loop.live_requests import Counters, LiveRequests
from triton_repo.engine.loop.outlet import Sink
from triton_repo.engine.loop.watchdog import STALL_S, Progress, Watchdog
from triton_repo.engine.request import EngineRequest
from triton_repo.engine.runtimes.runtime import AsynchronousRuntime, Runtime, TokenDelta

logger = logging.getLogger(__name__)

# Turns that fail in a row before the engine counts as lost.
MAX_FAILURES: Final = 3
CLOSE_TIMEOUT_S: Final = 5.0  # less than Triton waits for its models when it stops


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """When streams are flushed, and how old a step may become.

    A step older than `stall_s` makes renewals fail, one older than `max_step_s` ends the process; 0 is no limit.
    """

    flush: FlushIntervals
    max_step_s: float = 0.0
    stall_s: float = STALL_S


class EngineLoop:
    """Runs one runtime for many clients. Any thread may call its methods.

    Args:
        observe: is given the counters, ten times a second while there is work.
        observe_step_age: is given the age of the running step in seconds, on the watchdog's thread.
        give_up: ends the process.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: LoopSettings,
        observe: Callable[[Counters], None] = lambda _: None,
        observe_step_age: Callable[[float], None] = lambda _: None,
        give_up: Callable[[], None] = lambda: os._exit(1),
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._give_up = give_up
        self._inbox: SimpleQueue[Command] = SimpleQueue()
        self._live = LiveRequests()
        self._channels = Channels()
        self._delivery = Delivery(runtime, self._live, self._channels)
        self._commands = CommandRunner(runtime, self._live, self._channels, self._delivery)
        self._flush_clock = FlushClock(settings.flush)
        self._housekeeping = Housekeeping(runtime, self._live, self._channels, self._delivery, observe)
        if isinstance(runtime, AsynchronousRuntime):
            runtime.on_arrival(lambda: self._inbox.put(Wake()))
        self._ended = threading.Event()  # nothing reads the inbox any more
        self._progress = Progress(runtime, settings.max_step_s)
        self._watchdog = Watchdog(self._progress, settings.max_step_s, observe_step_age, self._abandon)
        self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)
        self._thread.start()

    def submit(self, request_id: str, request: EngineRequest, sink: Sink, channel: str = "") -> None:
        """Hand over a request. Its deltas go to `channel` if that is open, else to `sink`.

        A request with an empty `request_id` cannot be cancelled.
        """
        self._put(Submit(request_id, request, sink, channel))

    def subscribe(self, channel: str, sink: Sink) -> None:
        """Open a channel to `sink` for `CHANNEL_LEASE_S`."""
        self._put(Subscribe(channel, sink))

    def renew(self, channel: str) -> None:
        """Extend the lease of a channel.

        Raises:
            EngineUnavailable: the engine makes no progress. The lease is extended all the same, once it does again.
        """
        self._inbox.put(Renew(channel))
        age_s = self._progress.step_age_s()
        if age_s > self._settings.stall_s:
            raise EngineUnavailable(_stalled(age_s))

    def stop(self, name: str) -> None:
        """Cancel a request; it ends with finish reason `cancelled`. One that has yet to arrive ends as it arrives.

        A channel's name ends the channel and cancels the requests on it.
        """
        self._inbox.put(Stop(name))

    def add_adapter(self, add: Callable[[], None]) -> Future[bool]:
        """Have requests find an adapter that is open; true once they do."""
        command = AddAdapter(add, Future())
        self._put(command)
        return command.done

    def close_adapter(self, name: str, *, at_once: bool) -> Future[bool]:
        """Drop an adapter: whether no live request had it, or those that had it have failed since it was `at_once`."""
        command = CloseAdapter(name, at_once, Future())
        self._put(command)
        return command.done

    def step_age_s(self) -> float:
        """Seconds since the running step began; 0 if there is nothing to do."""
        return self._progress.step_age_s()

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Fail what is live and end the thread; a thread that hangs is left behind after `timeout_s`."""
        self._inbox.put(Close())
        self._thread.join(timeout_s)
        self._watchdog.close()
        if self._thread.is_alive():
            logger.critical("the engine does not stop:\n%s", stack_of(self._thread))
            self._ended.set()
            send_last_errors(shutting_down(), self._live, self._channels, self._inbox)
            self._inbox.put(Close())  # should the step end after all

    def _put(self, command: Command) -> None:
        """Hand a command to the loop's thread. One that it may have missed is rejected here."""
        self._inbox.put(command)
        if self._ended.is_set():  # looked at after the command is there: the loop sets it before its own last look
            reject_waiting(shutting_down(), self._inbox)

    def _abandon(self, age_s: float) -> None:
        """End a process whose loop hangs; on the watchdog's thread."""
        try:
            logger.critical("%s and is given up:\n%s", _stalled(age_s), stack_of(self._thread))
            send_last_errors(EngineFailed(_stalled(age_s)), self._live, self._channels, self._inbox)
        finally:
            self._give_up()

    # On the loop's thread.

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended.set()
            reject_waiting(shutting_down(), self._inbox)

    def _work(self) -> None:
        """Turn after turn, until the loop is closed, or too many fail in a row."""
        failures = 0
        while self._commands.is_open and not self._ended.is_set():
            try:
                self._turn()
                failures = 0
            # The boundary of the engine: whatever a vendor's runtime raises, this thread and later requests live on.
            except Exception:
                logger.exception("the engine failed; %d requests are lost", len(self._live))
                self._delivery.fail_all(EngineFailed("the engine failed while this request was running"))
                self._housekeeping.again()
                failures += 1
                if failures == MAX_FAILURES:  # a dead process is noticed and restarted, an idle one is not
                    logger.critical("the engine failed %d times in a row and is given up", failures)
                    self._give_up()
                    return
        self._runtime.close()

    def _turn(self) -> None:
        command = self._wait_for_command()
        if command is not None:
            self._commands.run(command)
        self._run_commands()
        deltas = self._runtime.step()
        now_s = time.monotonic()
        self._accept(deltas)
        for outlet, batch in self._flush_clock.take_due(now_s, len(self._live)):
            self._delivery.deliver(outlet, batch)
        self._housekeeping.run_if_due(now_s, self._run_commands)

    def _wait_for_command(self) -> Command | None:
        """The next command; None if something else is to be done first."""
        timeout_s = self._wait_timeout_s()
        self._progress.end_turn(is_working=len(self._live) > 0)
        try:
            return self._inbox.get(block=timeout_s != 0, timeout=timeout_s)
        except Empty:
            return None
        finally:
            self._progress.begin_turn()

    def _wait_timeout_s(self) -> float | None:
        """Seconds until something is to be done without a command; None = nothing is."""
        idle_s = self._runtime.idle_s()
        if idle_s == 0:
            return 0
        now_s = time.monotonic()
        waits = (idle_s, self._flush_clock.wait_s(now_s, len(self._live)), self._housekeeping.wait_s(now_s))
        return min((wait_s for wait_s in waits if wait_s is not None), default=None)

    def _run_commands(self) -> None:
        """Run every command that waits."""
        try:
            while True:
                self._commands.run(self._inbox.get_nowait())
        except Empty:
            return

    def _accept(self, deltas: Sequence[TokenDelta]) -> None:
        for delta in deltas:
            live = self._live.get(delta.key)
            if live is None or live.stream.finish_reason:
                continue  # it ended here before the runtime knew
            if delta.error is not None:
                self._delivery.fail(live, delta.error)
                continue
            self._live.generated_tokens += len(delta.token_ids)
            live.stream.accept(delta.token_ids, delta.finish_reason)
            if delta.prompt_logprobs:
                live.stream.prompt_logprobs = delta.prompt_logprobs
            if delta.logprobs:
                live.stream.accept_logprobs(delta.logprobs)
            live.stream.cached_tokens = max(live.stream.cached_tokens, delta.cached_tokens)
            self._flush_clock.note(live)
            if live.stream.finish_reason and not delta.finish_reason:
                self._runtime.cancel(live.key)  # a stop sequence: the runtime does not know that it is over


def _stalled(age_s: float) -> str:
    return f"the engine has made no progress for {age_s:.0f} s"
