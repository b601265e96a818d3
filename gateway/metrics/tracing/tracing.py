"""Traces over OTLP/HTTP: for each request a span, and below it those of its queue, its prefill and its decoding.

Spans are made at the end of a request, from the times that its record has anyway. Where no endpoint is set nothing of
OpenTelemetry is imported.
"""

from __future__ import annotations

import time
from typing import Any, Final

from starlette.requests import ClientDisconnect

from gateway.metrics.names.gen_ai import PROVIDER
from gateway.metrics.request_record import RequestRecord, reason_of
from gateway.metrics.tracing import conventions as names
from triton_repo.contract.distribution import conch_version, install_command
from triton_repo.contract.errors import LaunchError

_NS: Final = 1_000_000_000
_CANCELLED: Final = "cancelled"


class OtlpTracing:
    """Sends spans to `endpoint`, the base URL of a receiver, from a thread of its own.

    Raises:
        LaunchError: OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise LaunchError(f"otlp_endpoint needs the module {error.name}: {install_command('otel')}") from error
        resource = Resource.create({"service.name": PROVIDER, "service.version": conch_version()})
        self._provider = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("conch.gateway", conch_version(), schema_url=names.SCHEMA_URL)
        self._propagator = TraceContextTextMapPropagator()
        self._trace = trace

    def ended(self, record: RequestRecord, error: BaseException | None, /) -> None:
        """Called once for each request, at its end."""
        offset_ns = time.time_ns() - time.perf_counter_ns()
        error = error or record.failure
        parent = self._propagator.extract({"traceparent": record.trace_parent, "tracestate": record.trace_state})
        operation = names.operation_of(record.endpoint)
        span = self._tracer.start_span(
            f"{operation} {record.served.model}".rstrip(),
            parent,
            kind=self._trace.SpanKind.SERVER,
            attributes=_attributes(record, operation),
            start_time=_ns(record.began_s, offset_ns),
        )
        if span.is_recording():
            self._add_steps(record, self._trace.set_span_in_context(span), offset_ns)
            if error is not None:
                kind = _CANCELLED if isinstance(error, ClientDisconnect) else reason_of(error)
                span.set_attribute(names.ERROR_TYPE, kind)
                span.set_status(self._trace.StatusCode.ERROR, kind)
        span.end(_ns(time.perf_counter(), offset_ns))

    def close(self) -> None:
        """Send what waits; takes as long as the receiver, within its timeout."""
        self._provider.shutdown()

    def _add_steps(self, record: RequestRecord, context: Any, offset_ns: int) -> None:
        """The spans of what a request went through; times that are not known leave theirs out."""
        answer = record.answer
        if answer is None or answer.waited_s is None:
            return
        came_s, now_s = answer.came_s, time.perf_counter()
        steps = [("queue", came_s, turn_s := came_s + answer.waited_s)]
        if record.first_token_s is None:
            steps.append(("generate", turn_s, now_s))
        else:
            first_s = record.began_s + record.first_token_s
            steps += [("prefill", turn_s, max(first_s, turn_s)), ("decode", max(first_s, turn_s), now_s)]
        for name, begin_s, end_s in steps:
            step = self._tracer.start_span(name, context, start_time=_ns(begin_s, offset_ns))
            step.end(_ns(end_s, offset_ns))


def _attributes(record: RequestRecord, operation: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        names.OPERATION: operation,
        names.PROVIDER: PROVIDER,
        names.ROUTE: record.endpoint,
        names.REQUEST_ID: record.request_id,
    }
    if record.served.model:
        attributes |= {names.REQUEST_MODEL: record.served.model, names.RESPONSE_MODEL: record.served.model}
    if (answer := record.answer) is not None:
        usage = answer.usage
        attributes |= {names.INPUT_TOKENS: usage.prompt_tokens, names.OUTPUT_TOKENS: usage.completion_tokens}
        if answer.finish_reason is not None:
            attributes[names.FINISH_REASONS] = [answer.finish_reason]
    return attributes


def _ns(at_s: float, offset_ns: int) -> int:
    """A time of `perf_counter`, which on Linux is that of `monotonic`, as Unix time."""
    return int(at_s * _NS) + offset_ns
