"""Traces of requests, as a receiver of OTLP over HTTP gets them."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import httpx
import pytest

from gateway.endpoints.kserve import INFER
from tests.gateway.bodies import CHAT, HELLO, chat
from tests.gateway.metrics.tracing.receiver import attributes, receiver
from tests.gateway.scripted_backend import HANG, ScriptedBackend, Step, delta
from tests.gateway.server import serving
from triton_repo.contract.errors import EngineFailed
from triton_repo.tracing import conventions as names
from triton_repo.tracing.conventions import operation_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OK, ERROR = 0, 2  # OTLP's codes of a status that is not set, and of an error


def spans_of(script: list[Step], headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    """The spans of one request, by name; the end of the gateway sends them."""
    with receiver() as (url, scopes):
        with serving(ScriptedBackend(script), otlp_endpoint=url) as gateway:
            httpx.post(gateway.url + CHAT, json={"model": "demo", "messages": [HELLO], **fields}, headers=headers)
        assert {scope.schema_url for scope in scopes} <= {names.SCHEMA_URL}
        return {span.name: span for scope in scopes for span in scope.spans}


def test_a_stream_has_spans_of_its_queue_its_prefill_and_its_decoding_in_the_trace_of_its_client() -> None:
    script: list[Step] = [0.05, delta("a"), 0.05, delta("b", "stop", 5)]
    spans = spans_of(script, {"traceparent": f"00-{TRACE}-{PARENT}-01"}, stream=True)
    assert set(spans) == {"chat demo", "queue", "prefill", "decode"}
    root = spans.pop("chat demo")
    assert root.trace_id.hex() == TRACE
    assert root.parent_span_id.hex() == PARENT
    assert {span.parent_span_id for span in spans.values()} == {root.span_id}
    ends = [
        (spans[name].start_time_unix_nano, spans[name].end_time_unix_nano) for name in ("queue", "prefill", "decode")
    ]
    assert all(before[1] <= after[0] + 1000 for before, after in pairwise(ends))
    assert abs(root.end_time_unix_nano / 1e9 - time.time()) < 3600
    said = attributes(root)
    assert said[names.REQUEST_MODEL] == "demo"
    assert (said[names.INPUT_TOKENS], said[names.OUTPUT_TOKENS]) == (3, 5)
    assert [value.string_value for value in said[names.FINISH_REASONS].values] == ["stop"]
    assert (root.status.code, said[names.STATUS]) == (OK, 200)


@pytest.mark.parametrize(
    ("script", "fields", "kind", "status"),
    [
        ([EngineFailed("no")], {}, "engine_failed", 500),
        ([delta("a"), EngineFailed("no")], {"stream": True}, "engine_failed", 200),
        ([], {"temperature": -1}, "invalid_request_error", 400),
        ([], {"model": "made up"}, "model_not_found", 404),
    ],
)
def test_an_error_is_told_by_its_code_and_is_the_status_of_its_span_unless_it_is_the_clients(
    script: list[Step], fields: dict[str, Any], kind: str, status: int
) -> None:
    (root,) = [span for name, span in spans_of(script, **fields).items() if name.startswith("chat")]
    assert root.status.code == (OK if 400 <= status < 500 else ERROR)
    assert (attributes(root)[names.ERROR_TYPE], attributes(root)[names.STATUS]) == (kind, status)


def test_a_client_that_leaves_is_an_error_of_its_span() -> None:
    with receiver() as (url, scopes):
        backend = ScriptedBackend([delta("a"), HANG])
        with serving(backend, otlp_endpoint=url) as gateway:
            with gateway.post_unread(CHAT, chat(stream=True)):
                while not backend.generations:
                    time.sleep(0.01)
            while not backend.cancelled:
                time.sleep(0.01)
        (root,) = [span for scope in scopes for span in scope.spans if span.name == "chat demo"]
    assert root.status.code == ERROR
    assert attributes(root)[names.ERROR_TYPE] == "cancelled"
    assert attributes(root)[names.STATUS] == 200, "its status was out"


def test_a_trace_that_its_client_does_not_sample_is_not_sent_and_a_wrong_header_begins_one() -> None:
    assert spans_of([delta("a", "stop")], {"traceparent": f"00-{TRACE}-{PARENT}-00"}) == {}
    spans = spans_of([delta("a", "stop")], {"traceparent": "00-nonsense"})
    assert spans["chat demo"].parent_span_id == b""
    assert set(spans) == {"chat demo", "queue", "generate"}


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported() -> None:
    import subprocess
    import sys

    code = "import gateway.app, sys; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/messages", "chat"),
        ("/v1/responses", "chat"),
        ("/v1/completions", "text_completion"),
        ("/v1/embeddings", "embeddings"),
        ("/v2/rerank", "rerank"),
        ("/score", "score"),
        ("/v1/classify", "classify"),
        (INFER, "infer"),
    ],
)
def test_the_operation_of_a_path_is_in_the_name_of_its_span(path: str, operation: str) -> None:
    assert operation_of(path) == operation
