"""Prometheus metrics of the gateway.

A request is observed once, at its end. Names are those of vLLM and OpenTelemetry, and the buckets are OpenTelemetry's
(semantic conventions for generative AI, "Model server metrics"), with finer ones for tokens that take less than 10 ms.
"""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.requests import ClientDisconnect

from gateway.admission.gate import WAITING
from gateway.admission.tally import Tally
from gateway.answers.answer import Answer
from gateway.answers.encoding import Encoding
from gateway.catalog.resolution import Resolution
from gateway.settings import METRICS_DIRECTORY_VARIABLE
from triton_repo.contract.errors import RequestError

_FIRST_TOKEN_S: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60)
_TOKEN_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_REQUEST_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84)
_REQUESTS: Final = (
    "Requests for an answer, by how they ended: status is its class; finish_reason is stop, length, cancelled (the "
    "client left) or error; model is empty where none is served. Those without the API key do not count."
)

disable_created_metrics()  # times of creation double the series, and several processes cannot have them


class _OfModel(NamedTuple):
    """The series of one model; looking up a label costs as much as observing."""

    first_token: Histogram
    token: Histogram
    request: Histogram
    prompt_tokens: Counter
    completion_tokens: Counter


class Metrics:
    """The metrics of one application; of all processes of the gateway where METRICS_DIRECTORY_VARIABLE is set."""

    def __init__(self, tally: Tally) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_InFlight(tally))
        shared = METRICS_DIRECTORY_VARIABLE in os.environ
        if shared:
            MultiProcessCollector(self._registry)
        registry = None if shared else self._registry

        def histogram(name: str, description: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"conch_{name}_seconds", description, ["model"], registry=registry, buckets=buckets)

        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(f"conch_{name}", description, labels, registry=registry)

        self._requests = counter("requests", _REQUESTS, "endpoint", "model", "status", "finish_reason")
        self._by_model = (
            histogram("time_to_first_token", "From a request to the first text of its stream.", _FIRST_TOKEN_S),
            histogram("time_per_output_token", "Mean time of a stream's tokens after its first.", _TOKEN_S),
            histogram("request_duration", "From a request to the end of its whole answer.", _REQUEST_S),
            counter("prompt_tokens", "Tokens of prompts.", "model"),
            counter("completion_tokens", "Tokens of answers, also of those cut short.", "model"),
        )
        self._of_models: dict[str, _OfModel] = {}

    def record(self, endpoint: str) -> RequestRecord:
        return RequestRecord(self, endpoint)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that an Accept header asks for, else as plain text, and its content type."""
        try:
            return self._encoded(accept)
        except TypeError:  # from prometheus_client, which expects a version of numbers
            return self._encoded("")

    def _encoded(self, accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def observe(self, record: RequestRecord, error: BaseException | None) -> None:
        """`error` is what ended the request, None for its own end."""
        answer, took_s = record.answer, time.perf_counter() - record.began_s
        finish_reason = (answer and answer.finish_reason) or _reason_without_end(error)
        status = "2xx" if record.first_token_s is not None else _status(error)
        self._requests.labels(record.endpoint, record.model, status, finish_reason).inc()
        if answer is None:
            return
        series, usage = self._of_model(record.model), answer.usage
        series.prompt_tokens.inc(usage.prompt_tokens)
        series.completion_tokens.inc(usage.completion_tokens)
        if record.first_token_s is not None:
            series.first_token.observe(record.first_token_s)
        if answer.finish_reason is None:
            return
        series.request.observe(took_s)
        later_tokens = usage.completion_tokens / answer.num_choices - 1
        if record.first_token_s is not None and later_tokens > 0:
            series.token.observe((took_s - record.first_token_s) / later_tokens)

    def _of_model(self, model: str) -> _OfModel:
        if model not in self._of_models:
            first_token, token, request, prompt_tokens, completion_tokens = self._by_model
            self._of_models[model] = _OfModel(
                first_token.labels(model),
                token.labels(model),
                request.labels(model),
                prompt_tokens.labels(model),
                completion_tokens.labels(model),
            )
        return self._of_models[model]


class RequestRecord:
    """What is known of one request. Entered when it arrives, left with its last byte or with its error.

    Attributes:
        model: its label; empty until the model is known to be served, so that no client makes up labels.
        resolution: the same with its name, its version and the arm of a split.
        answer: the engines' answer, once they are asked.
        first_token_s: when the stream began, in seconds since the request came; None as long as no status is out.
        is_handed_over: another record counts it.
    """

    __slots__ = ("_metrics", "answer", "began_s", "endpoint", "first_token_s", "is_handed_over", "model", "resolution")

    def __init__(self, metrics: Metrics, endpoint: str) -> None:
        self._metrics = metrics
        self.endpoint = endpoint
        self.began_s = time.perf_counter()
        self.model = ""
        self.resolution: Resolution | None = None
        self.answer: Answer | Encoding | None = None
        self.first_token_s: float | None = None
        self.is_handed_over = False

    def begin_stream(self) -> None:
        self.first_token_s = time.perf_counter() - self.began_s

    def __enter__(self) -> RequestRecord:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if not self.is_handed_over:
            self._metrics.observe(self, error)


class _InFlight(Collector):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> list[GaugeMetricFamily]:
        in_flight, waiting = self._tally.total(), self._tally.row(WAITING).total()
        return [
            GaugeMetricFamily("conch_requests_in_flight", "Requests that are being answered, or wait.", in_flight),
            GaugeMetricFamily("conch_requests_waiting", "Answers that wait for their engine to have room.", waiting),
        ]


def _reason_without_end(error: BaseException | None) -> str:
    return "cancelled" if isinstance(error, ClientDisconnect) else "error"


def _status(error: BaseException | None) -> str:
    if error is None:
        return "2xx"
    if isinstance(error, ClientDisconnect):
        return "4xx"
    return f"{error.status // 100}xx" if isinstance(error, RequestError) else "5xx"
