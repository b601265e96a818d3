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
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from triton_repo.engine.flush import flush_interval_s
from triton_repo.engine.request import EngineRequest
from triton_repo.engine.runtime import Generation, Load, Runtime, TokenDelta
from triton_repo.engine.stream import Sink, Stream
from triton_repo.engine.tombstones import Tombstones
from triton_repo.errors import EngineFailed, EngineUnavailable, InvalidRequest

logger = logging.getLogger(__name__)

# How often the loop looks for clients that have gone and reports its counters.
CARE_INTERVAL_S: Final = 0.1
# Turns that fail in a row before the engine counts as lost.
MAX_FAILURES: Final = 3


@dataclass(frozen=True, slots=True)
class Counters:
    """What the engine did since it started, and how busy it is."""

    load: Load
    live: int
    finished: int
    cancelled: int
    failed: int
    generated_tokens: int


@dataclass(slots=True)
class _Live:
    key: int
    request_id: str
    stream: Stream
    sink: Sink


class EngineLoop:
    """Runs one runtime for many clients. `submit`, `stop` and `close` may be called from any thread."""

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
        self._live: dict[int, _Live] = {}
        self._by_request_id: dict[str, int] = {}
        self._tombstones = Tombstones()
        self._finished = self._cancelled = self._failed = self._generated_tokens = 0
        self._next_care_s = 0.0
        self._open = True
        self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)
        self._thread.start()

    def submit(self, request_id: str, request: EngineRequest, sink: Sink) -> None:
        """Hand over a request. An empty `request_id` is a request that nobody can stop."""
        self._inbox.put(lambda: self._admit(request_id, request, sink))

    def stop(self, request_id: str) -> None:
        """Cancel a request; it ends with finish reason `cancelled`. One that is not there yet ends as it arrives."""
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
        care_s = CARE_INTERVAL_S if self._live else None
        waits = (idle_s, self._next_flush_s(time.monotonic()), care_s)
        return min((wait for wait in waits if wait is not None), default=None)

    def _next_flush_s(self, now_s: float) -> float | None:
        interval = flush_interval_s(self._flush_setting_s, len(self._live))
        due = [live.stream.due_s(interval) for live in self._live.values() if live.stream.waits]
        return max(0.0, min(due) - now_s) if due else None

    def _admit(self, request_id: str, request: EngineRequest, sink: Sink) -> None:
        if not self._open:
            sink.fail(EngineUnavailable("the engine is shutting down"))
            return
        if request_id and request_id in self._by_request_id:
            sink.fail(InvalidRequest(f"request id {request_id!r} is in use by a running request", "id"))
            return
        live = _Live(next(self._keys), request_id, Stream(request), sink)
        self._live[live.key] = live
        if request_id:
            self._by_request_id[request_id] = live.key
        if self._tombstones.take(request_id):
            self._cancel(live)
            return
        generation = Generation(live.key, request.input_ids, request.max_tokens, request.end_ids, request.sampling)
        try:
            self._runtime.submit(generation)
        except EngineFailed as error:
            self._fail(live, error)

    def _stop(self, request_id: str) -> None:
        key = self._by_request_id.get(request_id)
        if key is None:
            self._tombstones.bury(request_id)
            return
        self._runtime.cancel(key)
        self._cancel(self._live[key])

    def _cancel(self, live: _Live) -> None:
        live.stream.end("cancelled")
        self._send(live, time.monotonic())

    def _accept(self, deltas: Sequence[TokenDelta]) -> None:
        for delta in deltas:
            live = self._live.get(delta.key)
            if live is None:
                continue  # it ended here before the runtime knew
            if delta.error is not None:
                self._fail(live, delta.error)
                continue
            self._generated_tokens += len(delta.token_ids)
            live.stream.accept(delta.token_ids, delta.finish_reason)
            if live.stream.finish_reason and not delta.finish_reason:
                self._runtime.cancel(live.key)  # a stop sequence: the runtime does not know that it is over

    def _flush(self, now_s: float) -> None:
        interval = flush_interval_s(self._flush_setting_s, len(self._live))
        for live in list(self._live.values()):
            if live.stream.waits and live.stream.due_s(interval) <= now_s:
                self._send(live, now_s)

    def _look_after(self, now_s: float) -> None:
        if self._live and now_s < self._next_care_s:
            return
        self._next_care_s = now_s + CARE_INTERVAL_S
        for live in [live for live in self._live.values() if live.sink.abandoned()]:
            self._runtime.cancel(live.key)
            self._cancel(live)
        self._observe(self._count())

    def _send(self, live: _Live, now_s: float) -> None:
        emission = live.stream.take(now_s)
        if emission.finish_reason:
            self._forget(live)
            self._cancelled += emission.finish_reason == "cancelled"
            self._finished += emission.finish_reason != "cancelled"
        if not _tell(live, lambda: live.sink.send(emission)):
            self._abandon(live, ended=bool(emission.finish_reason))

    def _fail(self, live: _Live, error: EngineFailed | EngineUnavailable) -> None:
        self._forget(live)
        self._failed += 1
        _tell(live, lambda: live.sink.fail(error))

    def _fail_all(self, error: EngineFailed | EngineUnavailable) -> None:
        for live in list(self._live.values()):
            self._fail(live, error)
            try:
                self._runtime.cancel(live.key)
            except Exception:  # the same boundary: a broken runtime must not keep the others from being told
                logger.exception("the engine could not cancel")

    def _abandon(self, live: _Live, *, ended: bool) -> None:
        """A message was lost: an answer with a hole in it must not go on, nor end as if it were whole."""
        if not ended:
            self._runtime.cancel(live.key)
            self._forget(live)
        self._failed += 1
        _tell(live, lambda: live.sink.fail(EngineFailed("a part of the answer was lost")))

    def _forget(self, live: _Live) -> None:
        del self._live[live.key]
        if live.request_id:
            del self._by_request_id[live.request_id]
            self._tombstones.ended(live.request_id)

    def _shut(self) -> None:
        self._open = False
        self._fail_all(EngineUnavailable("the engine is shutting down"))

    def _count(self) -> Counters:
        return Counters(
            self._runtime.load(), len(self._live), self._finished, self._cancelled, self._failed, self._generated_tokens
        )


def _tell(live: _Live, message: Callable[[], None]) -> bool:
    """Whether the message went out."""
    try:
        message()
    # The boundary of Triton: a response that it does not take (its client has gone) is the loss of one request.
    except Exception:
        logger.exception("request %r could not be answered", live.request_id)
        return False
    return True
