"""The engine's one thread: takes requests in between two steps, steps the runtime, sends what is due.

Everything that happens to a request happens on this thread, in order, so a request ends exactly once: by a finish
reason or by a failure, whichever comes first.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final

from triton_repo.contract.errors import EngineFailed, EngineUnavailable, InvalidRequest, RequestError
from triton_repo.engine.loop.channels import Channels
from triton_repo.engine.loop.delivery import Delivery, refuse, tell
from triton_repo.engine.loop.flush import flush_interval_s
from triton_repo.engine.loop.live_requests import Counters, LiveRequests
from triton_repo.engine.loop.outlet import Live, Outlet, Sink
from triton_repo.engine.loop.stream import Stream
from triton_repo.engine.request import EngineRequest
from triton_repo.engine.runtimes.runtime import AsynchronousRuntime, Generation, Runtime, TokenDelta

logger = logging.getLogger(__name__)

# How often the loop looks for clients that have gone and reports its counters.
CARE_INTERVAL_S: Final = 0.1
# Turns that fail in a row before the engine counts as lost.
MAX_FAILURES: Final = 3


class EngineLoop:
    """Runs one runtime for many clients. `submit`, `subscribe`, `stop`, `close` may be called from any thread."""

    def __init__(
        self,
        runtime: Runtime,
        flush_interval_s: float,
        observe: Callable[[Counters], None] = lambda _: None,
        give_up: Callable[[], None] = lambda: os._exit(1),
    ) -> None:
        self._runtime = runtime
        self._flush_setting_s = flush_interval_s
        self._observe = observe
        self._give_up = give_up
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._keys = itertools.count(1)
        self._live = LiveRequests()
        self._delivery = Delivery(runtime, self._live)
        self._channels = Channels()
        self._noted: dict[Outlet, None] = {}  # outlets with something to send, in order of their first
        self._next_care_s = 0.0
        self._careless = False  # nothing has happened since everything was looked after
        self._open = True
        if isinstance(runtime, AsynchronousRuntime):
            runtime.on_arrival(lambda: self._inbox.put(lambda: None))
        self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)
        self._thread.start()

    def submit(self, request_id: str, request: EngineRequest, sink: Sink, channel: str = "") -> None:
        """Hand over a request. Its deltas go to `channel` if that is open, else to `sink`.

        An empty `request_id` is a request that nobody can stop.
        """
        self._inbox.put(lambda: self._admit(request_id, request, sink, channel))

    def subscribe(self, channel: str, sink: Sink) -> None:
        """Open a channel to `sink` for `CHANNEL_LEASE_S`."""
        self._inbox.put(lambda: self._subscribe(channel, sink))

    def renew(self, channel: str) -> None:
        """Begin the lease of a channel anew."""
        self._inbox.put(lambda: self._channels.renew(channel, time.monotonic()))

    def stop(self, request_id: str) -> None:
        """Cancel a request; it ends with finish reason `cancelled`. One that is not there yet ends as it arrives.

        A channel's name ends the channel and cancels the requests that ride on it.
        """
        self._inbox.put(lambda: self._stop(request_id))

    def close(self) -> None:
        """Fail what is live and end the thread."""
        self._inbox.put(self._shut)
        self._thread.join()
        self._runtime.close()

    def _run(self) -> None:
        failures = 0
        while self._open:
            try:
                self._turn()
                failures = 0
            # The boundary of the engine: whatever a vendor's runtime raises, this thread and later requests live on.
            except Exception:
                logger.exception("the engine failed; %d requests are lost", len(self._live))
                self._fail_all(EngineFailed("the engine failed while this request was running"))
                self._careless = False
                failures += 1
                if failures == MAX_FAILURES:  # a dead process is noticed and started again, an idle one is not
                    logger.critical("the engine failed %d times in a row and is given up", failures)
                    self._give_up()
                    return

    def _turn(self) -> None:
        self._obey(self._patience_s())
        deltas = self._runtime.step()
        now_s = time.monotonic()
        self._accept(deltas)
        self._flush(now_s)
        self._look_after(now_s)

    def _obey(self, patience_s: float | None) -> None:
        """Carry out everything in the inbox; wait up to `patience_s` (None = for ever) for a first command."""
        try:
            self._inbox.get(block=patience_s != 0, timeout=patience_s)()
            while True:
                self._inbox.get_nowait()()
        except Empty:
            return

    def _patience_s(self) -> float | None:
        idle_s = self._runtime.idle_s()
        if idle_s == 0:
            return 0
        now_s = time.monotonic()
        care_s = None if self._careless else max(0.0, self._next_care_s - now_s)
        waits = (idle_s, self._next_flush_s(now_s), care_s)
        return min((wait for wait in waits if wait is not None), default=None)

    def _next_flush_s(self, now_s: float) -> float | None:
        interval_s = self._interval_s()
        due = [due_s for outlet in self._noted if (due_s := outlet.due_s(interval_s)) is not None]
        return max(0.0, min(due) - now_s) if due else None

    def _interval_s(self) -> float:
        return flush_interval_s(self._flush_setting_s, len(self._live))

    def _admit(self, request_id: str, request: EngineRequest, sink: Sink, channel: str) -> None:
        if not self._open:
            refuse(request_id, sink, EngineUnavailable("the engine is shutting down"))
            return
        if request_id and self._live.named(request_id):
            refuse(request_id, sink, InvalidRequest(f"request id {request_id!r} is in use by a running request", "id"))
            return
        outlet = self._channels.get(channel) or Outlet(sink)
        live = Live(next(self._keys), request_id, Stream(request_id, request), sink, outlet)
        if not self._live.add(live):
            self._delivery.cancel(live)
            return
        generation = Generation(live.key, request.input_ids, request.max_tokens, request.end_ids, request.sampling)
        try:
            self._runtime.submit(generation)
        except EngineFailed as error:
            self._delivery.fail(live, error)

    def _subscribe(self, channel: str, sink: Sink) -> None:
        if not self._open:
            refuse(channel, sink, EngineUnavailable("the engine is shutting down"))
        elif channel in self._channels:
            refuse(channel, sink, InvalidRequest(f"channel {channel!r} is open already", "id"))
        else:
            self._channels.open(channel, sink, time.monotonic())

    def _stop(self, request_id: str) -> None:
        live = self._live.named(request_id)
        if live is not None:
            self._delivery.cancel(live)
        elif request_id in self._channels:
            self._end_channel(request_id)
        else:
            self._live.stop_on_arrival(request_id)

    def _end_channel(self, name: str) -> None:
        outlet = self._channels.pop(name)
        for live in self._live.riding_on(outlet):
            self._delivery.cancel(live)
        tell(name, outlet.sink.end)

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
            if delta.logprobs:
                live.stream.accept_logprobs(delta.logprobs)
            live.outlet.note(live)
            self._noted[live.outlet] = None
            if live.stream.finish_reason and not delta.finish_reason:
                self._runtime.cancel(live.key)  # a stop sequence: the runtime does not know that it is over

    def _flush(self, now_s: float) -> None:
        interval_s = self._interval_s()
        for outlet in list(self._noted):
            due_s = outlet.due_s(interval_s)
            if due_s is None:
                del self._noted[outlet]
            elif due_s <= now_s:
                self._delivery.deliver(outlet, outlet.take_due(now_s, interval_s))

    def _look_after(self, now_s: float) -> None:
        if now_s < self._next_care_s:
            self._careless = False
            return
        self._next_care_s = now_s + CARE_INTERVAL_S
        for live in self._live:
            if live.sink.abandoned():
                self._delivery.cancel(live)
        if self._channels.lapsed(now_s):
            self._obey(0)  # a renewal may have waited for a long step
        for name in self._channels.lapsed(now_s):
            logger.warning("nobody renews channel %s any more", name)
            self._end_channel(name)
        self._observe(self._live.count(self._runtime.load()))
        self._careless = not self._live and not self._channels

    def _fail_all(self, error: RequestError) -> None:
        for live in self._live:
            self._delivery.fail(live, error)
            try:
                self._runtime.cancel(live.key)
            except Exception:  # the same boundary: a broken runtime must not keep the others from being told
                logger.exception("the engine could not cancel")

    def _shut(self) -> None:
        self._open = False
        self._fail_all(EngineUnavailable("the engine is shutting down"))
        for name in list(self._channels):
            self._end_channel(name)
