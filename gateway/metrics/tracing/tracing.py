"""The gateway's spans: for each request one, and below it those of its queue, its prefill and its decoding.

A request's span begins with it, so that the models in Triton can add theirs below; all else is told at its end, from
the times that its record has anyway.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from starlette.requests import ClientDisconnect

from gateway.metrics.names.gen_ai import PROVIDER
from gateway.metrics.request_record import RequestRecord, reason_of
from triton_repo.tracing import conventions as names
from triton_repo.tracing.otlp import Otlp, unix_ns

_CANCELLED: Final = "cancelled"


class OtlpTracing:
    """Sends spans to `endpoint`, the base URL of a receiver, from a thread of its own.

    Raises:
        LaunchError: OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str) -> None:
        self._otlp = Otlp(endpoint, "conch.gateway")

    def begin(self, record: RequestRecord, traceparent: str = "", tracestate: str = "") -> Any:
        """The span of a request, below that of its client, which W3C's headers name."""
        name = names.operation_of(record.endpoint)
        return self._otlp.begin(name, traceparent, tracestate, at_ns=unix_ns(record.began_s), is_server=True)

    def traceparent(self, span: Any) -> str:
        return self._otlp.traceparent(span)

    def ended(self, record: RequestRecord, error: BaseException | None, /) -> None:
        """Called once for each request, at its end."""
        span = record.span or self.begin(record)
        status, error = record.status(error), error or record.failure
        if span.is_recording():
            operation = names.operation_of(record.endpoint)
            span.update_name(f"{operation} {record.served.model}".rstrip())
            span.set_attributes(_attributes(record, operation))
            if status is not None:
                span.set_attribute(names.STATUS, status)
            for name, begin_s, end_s in _phases(record):
                self._otlp.below(span, name, unix_ns(begin_s), unix_ns(end_s))
            if error is not None:
                kind = _CANCELLED if isinstance(error, ClientDisconnect) else reason_of(error)
                self._otlp.fail(span, kind, is_ours=status is None or not 400 <= status < 500)
        span.end(unix_ns(time.perf_counter()))

    def close(self) -> None:
        """Send what waits; takes as long as the receiver, within its timeout."""
        self._otlp.close()


def _phases(record: RequestRecord) -> Iterator[tuple[str, float, float]]:
    """What a request went through, from when to when; times that are not known leave theirs out."""
    answer = record.answer
    if answer is None or answer.waited_s is None:
        return
    now_s, turn_s = time.perf_counter(), answer.came_s + answer.waited_s
    yield "queue", answer.came_s, turn_s
    if record.first_token_s is None:
        yield "generate", turn_s, now_s
        return
    first_s = max(record.began_s + record.first_token_s, turn_s)
    yield "prefill", turn_s, first_s
    yield "decode", first_s, now_s


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
