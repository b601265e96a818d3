"""What is known of one request, from its arrival until its last byte, and what of it is counted then."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Protocol

from starlette.requests import ClientDisconnect

from gateway.answers.answer import Answer
from gateway.answers.encoding import Encoding
from gateway.metrics.recorder import NOT_SERVED, Recorder
from gateway.metrics.table import DURATION, INTER_TOKEN
from triton_repo.contract.errors import RequestError

_GAPS_S: Final = INTER_TOKEN.buckets
_CLIENT_LEFT: Final = 499  # nginx's
_TRACE_HEADERS: Final = (b"traceparent", b"tracestate")


class RequestRecord:
    """Entered when a request arrives, left with its last byte or with its error.

    Attributes:
        served: labels of its engine; empty until the model is known to be served, so that no client makes up labels.
        answer: the engines' answer, once they are asked.
        first_token_s: when the stream began, in seconds since the request came; None as long as no status is out.
        is_handed_over: another record counts it.
        is_whole: its answer, which has no tokens, is there.
        failure: what ended a stream that had begun, which its client was told in the stream.
        request_id: of a request that is traced, and `span` what its trace has of it.
    """

    __slots__ = (
        "_gap_sum_s",
        "_gaps",
        "_last_s",
        "_num_tokens",
        "_recorder",
        "_tracing",
        "answer",
        "began_s",
        "endpoint",
        "failure",
        "first_token_s",
        "is_handed_over",
        "is_whole",
        "request_id",
        "served",
        "span",
    )

    def __init__(self, recorder: Recorder, endpoint: str, tracing: Tracing | None = None) -> None:
        self._recorder = recorder
        self._tracing = tracing
        self.endpoint = endpoint
        self.began_s = time.perf_counter()
        self.served = NOT_SERVED
        self.answer: Answer | Encoding | None = None
        self.first_token_s: float | None = None
        self.is_handed_over = self.is_whole = False
        self.failure: BaseException | None = None
        self.request_id = ""
        self.span: Any = None
        self._last_s = 0.0
        self._num_tokens = 0
        self._gaps: list[int] | None = None
        self._gap_sum_s = 0.0

    def trace(self, request_id: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take over a client's trace, if traces are made at all."""
        if self._tracing is None:
            return
        self.request_id = request_id
        found = {name: value.decode("latin-1") for name, value in headers if name in _TRACE_HEADERS}
        self.span = self._tracing.begin(self, *(found.get(name, "") for name in _TRACE_HEADERS))

    @property
    def traceparent(self) -> str:
        """For what is done elsewhere for this request; "" where it is not traced."""
        return "" if self._tracing is None or self.span is None else self._tracing.traceparent(self.span)

    def status(self, error: BaseException | None) -> int | None:
        """Of the response, once the request has ended with that error, if any; None where none was sent."""
        if error is None or self.first_token_s is not None:
            return 200
        if isinstance(error, ClientDisconnect):
            return None
        return error.status if isinstance(error, RequestError) else 500

    def begin_stream(self, answer: Answer) -> None:
        self._last_s = time.perf_counter()
        self._num_tokens = answer.num_tokens
        self.first_token_s = self._last_s - self.began_s

    def progress(self, answer: Answer) -> None:
        """More of the stream has arrived. Only counted here: it is called for every message."""
        new = answer.num_tokens - self._num_tokens
        if new <= 0:
            return
        now_s = time.perf_counter()
        gap_s = (now_s - self._last_s) * answer.num_choices / new
        if self._gaps is None:
            self._gaps = [0] * (len(_GAPS_S) + 1)
        self._gaps[bisect_left(_GAPS_S, gap_s)] += new
        self._gap_sum_s += gap_s * new
        self._last_s = now_s
        self._num_tokens += new

    def __enter__(self) -> RequestRecord:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if not self.is_handed_over:
            self._observe(error)
            if self._tracing is not None:
                self._tracing.ended(self, error)

    def _observe(self, error: BaseException | None) -> None:
        """`error` is what ended the request, None for its own end."""
        recorder, answer, took_s = self._recorder, self.answer, time.perf_counter() - self.began_s
        finish_reason = (answer and answer.finish_reason) or ("stop" if self.is_whole else _reason_without_end(error))
        status = self.status(error) or _CLIENT_LEFT
        recorder.count_end(self.endpoint, self.served, f"{status // 100}xx", finish_reason)
        if error is not None and self.first_token_s is None and not isinstance(error, ClientDisconnect):
            recorder.count_rejected(self.served, reason_of(error))
        if answer is not None:
            self._observe_answer(answer, took_s)
        elif self.is_whole:
            recorder.histograms[DURATION].labels(*self.served).observe(took_s)

    def _observe_answer(self, answer: Answer | Encoding, took_s: float) -> None:
        series, usage = self._recorder.of_engine(self.served), answer.usage
        series.prompt_tokens.inc(usage.prompt_tokens)
        series.completion_tokens.inc(usage.completion_tokens)
        if usage.cached_tokens is not None:
            series.cached_tokens.inc(usage.cached_tokens)
        if answer.waited_s is not None:
            series.queue.observe(answer.waited_s)
        if self.first_token_s is not None:
            series.first_token.observe(self.first_token_s)
        if self._gaps is not None:
            series.inter_token.add(self._gaps, self._gap_sum_s)
        if answer.finish_reason is None:
            return
        series.duration.observe(took_s)
        series.prompt_length.observe(usage.prompt_tokens)
        series.completion_length.observe(usage.completion_tokens)
        later_tokens = usage.completion_tokens / answer.num_choices - 1
        if self.first_token_s is not None and later_tokens > 0:
            series.token.observe((took_s - self.first_token_s) / later_tokens)


class Tracing(Protocol):
    """Makes a trace of each request. A span is a value of its own."""

    def begin(self, record: RequestRecord, traceparent: str = "", tracestate: str = "") -> Any: ...

    def traceparent(self, span: Any) -> str: ...

    def ended(self, record: RequestRecord, error: BaseException | None, /) -> None:
        """Is given a record at its end, and the error that ended it."""

    def close(self) -> None:
        """Send what waits; may take as long as its receiver."""


def reason_of(error: BaseException) -> str:
    return error.reason if isinstance(error, RequestError) else "internal_error"


def _reason_without_end(error: BaseException | None) -> str:
    return "cancelled" if isinstance(error, ClientDisconnect) else "error"
