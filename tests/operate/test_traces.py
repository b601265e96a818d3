"""One trace from a client through the gateway and Triton's models, as a receiver of OTLP gets it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conftest import Stack, serving
from tests.gateway.metrics.tracing.receiver import attributes, receiver
from tests.waiting import wait_for
from triton_repo.tracing import conventions as names

pytestmark = pytest.mark.operate

PARENT = "b7ad6b7169203331"
STEPS = {"preprocess", "engine", "queue", "prefill", "decode", "detokenize"}


@pytest.fixture(scope="module")
def scopes() -> Iterator[tuple[str, list[Any]]]:
    with receiver() as received:
        yield received


@pytest.fixture(scope="module")
def stack(scopes: tuple[str, list[Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with serving("demo", "--otlp-endpoint", scopes[0], log=tmp_path_factory.mktemp("traces") / "serve.log") as running:
        yield running


def ask(stack: Stack, trace: str, flags: str = "01", **fields: Any) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, **fields}
    headers = {"traceparent": f"00-{trace}-{PARENT}-{flags}"}
    httpx.post(f"{stack.gateway}/v1/chat/completions", json=body, headers=headers).raise_for_status()


def spans_of(scopes: list[Any], trace: str) -> dict[tuple[str, str], Any]:
    """Those that have arrived, by the name of their scope and their own."""
    return {
        (scope.scope.name, span.name): span
        for scope in list(scopes)
        for span in scope.spans
        if span.trace_id.hex() == trace
    }


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_is_one_trace_from_the_client_to_the_last_text(
    stack: Stack, scopes: tuple[str, list[Any]], *, stream: bool
) -> None:
    trace = f"{1 + stream:032x}"
    ask(stack, trace, stream=stream)
    own = {"chat demo", "queue", *(("prefill", "decode") if stream else ("generate",))}
    wanted = {*(("conch.gateway", name) for name in own), *(("conch.triton", name) for name in STEPS)}
    wait_for(lambda: wanted <= set(spans_of(scopes[1], trace)), lambda: str(set(spans_of(scopes[1], trace))))
    spans = spans_of(scopes[1], trace)
    assert set(spans) == wanted
    root, engine = spans["conch.gateway", "chat demo"], spans["conch.triton", "engine"]
    assert root.parent_span_id.hex() == PARENT
    for name in ("preprocess", "engine"):
        assert spans["conch.triton", name].parent_span_id == root.span_id
        assert attributes(spans["conch.triton", name])[names.REQUEST_ID] == f"{attributes(root)[names.REQUEST_ID]}-0"
    for name in STEPS - {"preprocess", "engine"}:
        assert spans["conch.triton", name].parent_span_id == engine.span_id
    begins = [spans["conch.triton", name].start_time_unix_nano for name in ("queue", "prefill", "decode", "detokenize")]
    assert begins == sorted(begins)
    assert root.start_time_unix_nano <= engine.start_time_unix_nano < engine.end_time_unix_nano


def test_many_at_once_each_have_a_trace_of_their_own(stack: Stack, scopes: tuple[str, list[Any]]) -> None:
    traces = [f"{16 + number:032x}" for number in range(16)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda trace: ask(stack, trace, stream=True), traces))
    wait_for(lambda: all(len(spans_of(scopes[1], trace)) == len(STEPS) + 4 for trace in traces))


def test_what_its_client_does_not_sample_leaves_no_span_anywhere(stack: Stack, scopes: tuple[str, list[Any]]) -> None:
    untraced, later = f"{64:032x}", f"{65:032x}"
    ask(stack, untraced, "00")
    ask(stack, later)
    wait_for(lambda: len(spans_of(scopes[1], later)) >= len(STEPS) + 3)
    assert spans_of(scopes[1], untraced) == {}
