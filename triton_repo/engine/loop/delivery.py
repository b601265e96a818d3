"""Sends what streams have gained, and ends each request once: by a finish reason or by an error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from triton_repo.contract.errors import EngineFailed, RequestError
from triton_repo.engine.loop.channels import Channels
from triton_repo.engine.loop.live_requests import LiveRequests
from triton_repo.engine.loop.outlet import Live, Outlet, Sink
from triton_repo.engine.runtimes.runtime import Runtime

logger = logging.getLogger(__name__)


class Delivery:
    """Between the streams and their clients. A request that has ended is no longer live."""

    def __init__(self, runtime: Runtime, live: LiveRequests, channels: Channels) -> None:
        self._runtime = runtime
        self._live = live
        self._channels = channels

    def deliver(self, outlet: Outlet, batch: Sequence[Live]) -> None:
        """Send what waits in `batch`, which is not empty, as one message of its outlet."""
        # A whole answer alone is sent as its own response, which ends it too: one message instead of two.
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
        send_error(live.request_id, live.sink, error)

    def fail_all(self, error: RequestError) -> None:
        """End every live request with an error."""
        for live in self._live:
            self.fail(live, error)
            try:
                self._runtime.cancel(live.key)
            except Exception:  # the boundary of the runtime: the other requests must get their error all the same
                logger.exception("the engine could not cancel a request")

    def end_channel(self, name: str) -> None:
        """Cancel the requests on an open channel, and end it."""
        outlet = self._channels.pop(name)
        for live in self._live.on_outlet(outlet):
            self.cancel(live)
        self._live.channel_ended(name)
        try_to_send(name, outlet.sink.end)

    def _send(self, sink: Sink, batch: Sequence[Live]) -> None:
        """Send what waits in `batch` as one message."""
        emissions = [live.stream.take() for live in batch]
        final = any(live.stream.finish_reason and live.sink is sink for live in batch)
        sent = try_to_send(batch[0].request_id, lambda: sink.send(emissions, final=final))
        for live in batch:
            if not sent:  # an answer with a gap must neither go on nor end as if it were whole
                self._runtime.cancel(live.key)
                self.fail(live, EngineFailed("a part of the answer was lost"))
            elif live.stream.finish_reason:
                self._end(live, end_sent=final)

    def _end(self, live: Live, *, end_sent: bool) -> None:
        self._live.remove(live, "cancelled" if live.stream.finish_reason == "cancelled" else "finished")
        if not end_sent:
            try_to_send(live.request_id, live.sink.end)


@contextmanager
def errors_sent_to(request_id: str, sink: Sink) -> Iterator[None]:
    """The error boundary of an arriving request, or of one of its rows: its errors must not fail the others."""
    try:
        yield
    except RequestError as error:
        send_error(request_id, sink, error)
    except Exception:
        logger.exception("request %r could not be accepted", request_id)
        send_error(request_id, sink, EngineFailed("the request could not be accepted"))


def send_error(request_id: str, sink: Sink, error: RequestError) -> None:
    """End a request with an error."""
    try_to_send(request_id, lambda: sink.fail(error))


def try_to_send(request_id: str, send: Callable[[], None]) -> bool:
    """Whether the message was sent."""
    try:
        send()
    # The boundary of Triton: a response that it does not accept (its client has gone) is the loss of one request.
    except Exception:
        logger.exception("request %r could not be answered", request_id)
        return False
    return True
