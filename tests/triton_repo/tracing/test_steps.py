"""The spans of a model's process, as a receiver gets them."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from tests.gateway.metrics.tracing.receiver import attributes, receiver
from triton_repo.tracing import conventions as names
from triton_repo.tracing.otlp import Otlp
from triton_repo.tracing.steps import ENDPOINT_VARIABLE, TRACEPARENT, UNTRACED, Steps, steps_of_process

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "f7ad6b7169203331"
TRACED = {TRACEPARENT: f"00-{TRACE}-{PARENT}-01"}


def test_a_step_has_its_phases_below_it_and_the_next_process_goes_on_below_it_too() -> None:
    with receiver() as (url, scopes):
        engine, detokenize = Steps(Otlp(url, "engine")), Steps(Otlp(url, "detokenize"))
        step = engine.begin("engine", TRACED, "r-0", "queue")
        step.enter("prefill")
        step.enter("decode")
        with detokenize.below([*step.context(), *UNTRACED.context()], "detokenize"):
            pass
        step.end("cancelled")
        engine.close()
        detokenize.close()
    spans: dict[str, Any] = {span.name: span for scope in scopes for span in scope.spans}
    assert set(spans) == {"engine", "queue", "prefill", "decode", "detokenize"}
    root = spans.pop("engine")
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(root) == {names.REQUEST_ID: "r-0", names.ERROR_TYPE: "cancelled"}
    assert {(span.trace_id, span.parent_span_id) for span in spans.values()} == {(root.trace_id, root.span_id)}
    assert spans["queue"].end_time_unix_nano == spans["prefill"].start_time_unix_nano
    assert spans["decode"].end_time_unix_nano == root.end_time_unix_nano


def test_work_that_fails_ends_its_span_too() -> None:
    with receiver() as (url, scopes):
        steps = Steps(Otlp(url, "detokenize"))
        context = steps.begin("engine", TRACED, "r-0").context()
        with pytest.raises(ZeroDivisionError), steps.below(context, "detokenize"):
            raise ZeroDivisionError
        steps.close()
    assert [span.name for scope in scopes for span in scope.spans] == ["detokenize"]


def test_a_process_that_ends_does_not_try_every_batch_on_a_receiver_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        otlp = Otlp(f"http://127.0.0.1:{listener.getsockname()[1]}", "engine", timeout_s=0.5)
        for _ in range(2_048):  # four batches, and all that are kept
            otlp.begin("engine", "", at_ns=time.time_ns()).end()
        otlp.close()
        assert num_connections(listener) < 4


def num_connections(listener: socket.socket) -> int:
    """How many have come so far."""
    listener.setblocking(False)
    num = 0
    try:
        while True:
            listener.accept()[0].close()
            num += 1
    except BlockingIOError:
        return num


@pytest.mark.parametrize("parameters", [{}, {TRACEPARENT: 7}])
def test_a_request_without_a_trace_costs_and_sends_nothing(parameters: dict[str, Any]) -> None:
    with receiver() as (url, scopes):
        steps = Steps(Otlp(url, "engine"))
        assert steps.begin("engine", parameters, "r-0") is UNTRACED
        with steps.below([], "detokenize"):
            pass
        steps.close()
    assert scopes == []


def test_without_an_endpoint_a_trace_is_not_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT_VARIABLE, raising=False)
    steps = steps_of_process()
    assert steps.begin("engine", TRACED, "r-0") is UNTRACED
    steps.close()
