"""The sink of a request that is traced: the error that ends the request ends its span."""

from __future__ import annotations

from triton_repo.contract.errors import RequestError
from triton_repo.engine.loop.outlet import Sink
from triton_repo.tracing.steps import UNTRACED, Step


class TracedSink:
    def __init__(self, sink: Sink, trace: Step) -> None:
        self._sink = sink
        self._trace = trace
        self.send = sink.send
        self.end = sink.end
        self.abandoned = sink.abandoned

    def fail(self, error: RequestError) -> None:
        self._trace.end(error.reason)
        self._sink.fail(error)


def traced(sink: Sink, trace: Step) -> Sink:
    return sink if trace is UNTRACED else TracedSink(sink, trace)
