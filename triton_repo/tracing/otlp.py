"""Sending spans over OTLP/HTTP, for the gateway and for each process of a model.

OpenTelemetry is imported when the first of these is made: where traces are off, nothing of it is.
"""

from __future__ import annotations

import time
from threading import Timer
from typing import Any, Final

from triton_repo.contract.distribution import conch_version, install_command
from triton_repo.contract.errors import LaunchError
from triton_repo.tracing import conventions as names

SERVICE: Final = "conch"
_TIMEOUT_S: Final = 3.0


class Otlp:
    """A tracer named `scope`, which sends to `endpoint`, the base URL of a receiver, from a thread of its own.

    `timeout_s` is that of one attempt to send.

    Raises:
        LaunchError: OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str, scope: str, timeout_s: float = _TIMEOUT_S) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise LaunchError(f"otlp_endpoint needs the module {error.name}: {install_command('otel')}") from error
        resource = Resource.create({"service.name": SERVICE, "service.version": conch_version()})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._timeout_s = timeout_s
        self._exporter = OTLPSpanExporter(endpoint=traces_url(endpoint), timeout=timeout_s)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer(scope, conch_version(), schema_url=names.SCHEMA_URL)
        self._propagator = TraceContextTextMapPropagator()
        self._trace = trace

    def begin(self, name: str, traceparent: str, tracestate: str = "", *, at_ns: int, is_server: bool = False) -> Any:
        """A span of OpenTelemetry's, below the one that W3C's headers name; a trace of its own where they are wrong."""
        parent = self._propagator.extract({"traceparent": traceparent, "tracestate": tracestate})
        kind = self._trace.SpanKind.SERVER if is_server else self._trace.SpanKind.INTERNAL
        return self._tracer.start_span(name, parent, kind=kind, start_time=at_ns)

    def below(self, span: Any, name: str, begin_ns: int, end_ns: int) -> None:
        """A span that has ended, below another."""
        context = self._trace.set_span_in_context(span)
        self._tracer.start_span(name, context, start_time=begin_ns).end(end_ns)

    def fail(self, span: Any, kind: str, *, is_ours: bool = True) -> None:
        """`kind` is the code of the error that ended it.

        What is the client's own error leaves a server's status unset, as the conventions of HTTP want.
        """
        span.set_attribute(names.ERROR_TYPE, kind)
        if is_ours:
            span.set_status(self._trace.StatusCode.ERROR, kind)

    def traceparent(self, span: Any) -> str:
        """W3C's header, for what is done below this span; "" for one that is not sampled."""
        if not span.is_recording():
            return ""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._trace.set_span_in_context(span))
        return carrier["traceparent"]

    def close(self) -> None:
        """Send what waits. After the timeout the rest is dropped: no process waits for a receiver that hangs."""
        giving_up = Timer(self._timeout_s, self._exporter.shutdown)
        giving_up.start()
        self._provider.shutdown()
        giving_up.cancel()
        giving_up.join()


def traces_url(endpoint: str) -> str:
    return endpoint.rstrip("/") + "/v1/traces"


def unix_ns(at_s: float) -> int:
    """A time of `perf_counter`, which on Linux is that of `monotonic`, as Unix time."""
    return int(at_s * 1e9) + time.time_ns() - time.perf_counter_ns()
