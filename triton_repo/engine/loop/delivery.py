"""Sends what streams have gained, and tells each request its end: once, by a finish reason or by a failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from triton_repo.contract.errors import EngineFailed, RequestError
from triton_repo.engine.loop.live_requests import LiveRequests
from triton_repo.engine.loop.outlet import Live, Outlet, Sink
from triton_repo.engine.runtimes.runtime import Runtime

logger = logging.getLogger(__name__)


class Delivery:
    """Between the streams and their clients; a request that has ended is no longer live."""

    def __init__(self, runtime: Runtime, live: LiveRequests) -> None:
        self._runtime = runtime
        self._live = live

    def deliver(self, outlet: Outlet, batch: Sequence[Live]) -> None:
        """Send what waits in `batch`, which is not empty, as one message of its outlet."""
        # A whole answer alone is its own response, and that is its end too: one message instead of two.
        alone = len(batch) == 1 and batch[0].stream.whole
        self._send(batch[0].sink if alone else outlet.sink, batch)

    def cancel(self, live: Live) -> None:
        """End it with finish reason `cancelled`."""
        self._runtime.cancel(live.key)
        live.stream.end("cancelled")
        self.deliver(live.outlet, [live])

    def fail(self, live: Live, error: RequestError) -> None:
        """End it with an error."""
        self._live.remove(live, "failed")
        refuse(live.request_id, live.sink, error)

    def _send(self, sink: Sink, batch: Sequence[Live]) -> None:
        """Send what waits in `batch` as one message."""
        emissions = [live.stream.take() for live in batch]
        final = any(live.stream.finish_reason and live.sink is sink for live in batch)
        sent = tell(batch[0].request_id, lambda: sink.send(emissions, final=final))
        for live in batch:
            if not sent:  # an answer with a hole in it must not go on, nor end as if it were whole
                self._runtime.cancel(live.key)
                self.fail(live, EngineFailed("a part of the answer was lost"))
            elif live.stream.finish_reason:
                self._end(live, told=final)

    def _end(self, live: Live, *, told: bool) -> None:
        self._live.remove(live, "cancelled" if live.stream.finish_reason == "cancelled" else "finished")
        if not told:
            tell(live.request_id, live.sink.end)


@contextmanager
def failing(request_id: str, sink: Sink) -> Iterator[None]:
    """The boundary of a request that comes, or of one of its rows: what is wrong with it must not fail the others."""
    try:
        yield
    except RequestError as error:
        refuse(request_id, sink, error)
    except Exception:
        logger.exception("request %r could not be taken", request_id)
        refuse(request_id, sink, EngineFailed("the request could not be taken"))


def refuse(request_id: str, sink: Sink, error: RequestError) -> None:
    """Tell a request that it fails, or will never be live."""
    tell(request_id, lambda: sink.fail(error))


def tell(request_id: str, message: Callable[[], None]) -> bool:
    """Whether the message went out."""
    try:
        message()
    # The boundary of Triton: a response that it does not take (its client has gone) is the loss of one request.
    except Exception:
        logger.exception("request %r could not be answered", request_id)
        return False
    return True
