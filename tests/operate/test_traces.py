"""One trace from a client through the gateway and Triton's models, as a receiver of OTLP gets it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conftest import Stack, serving
from tests.gateway.metrics.tracing.receiver import attributes, receiver
from tests.serving import encoders
from tests.waiting import wait_for
from triton_repo.tracing import conventions as names

pytestmark = pytest.mark.operate

PARENT = "b7ad6b7169203331"
UNSET, ERROR = 0, 2  # OTLP's codes of a status
STEPS = {"preprocess", "engine", "queue", "prefill", "decode", "detokenize"}


@pytest.fixture(scope="module")
def scopes() -> Iterator[tuple[str, list[Any]]]:
    with receiver() as received:
        yield received


@pytest.fixture(scope="module")
def stack(scopes: tuple[str, list[Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    log = tmp_path_factory.mktemp("traces") / "serve.log"
    with serving("demo", *encoders.engines(), "--otlp-endpoint", scopes[0], log=log) as running:
        yield running


def ask(stack: Stack, trace: str, flags: str = "01", **fields: Any) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, **fields}
    post(stack, "/v1/chat/completions", body, trace, flags).raise_for_status()


def post(stack: Stack, path: str, body: dict[str, Any], trace: str, flags: str = "01") -> httpx.Response:
    return httpx.post(stack.gateway + path, json=body, headers={"traceparent": f"00-{trace}-{PARENT}-{flags}"})


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


def test_what_the_engine_rejects_has_its_span_too_with_the_code_of_the_error(
    stack: Stack, scopes: tuple[str, list[Any]]
) -> None:
    trace = f"{8:032x}"
    body = {"model": "demo", "prompt": "Hi", "guided_grammar": "root ::= root"}
    assert post(stack, "/v1/completions", body, trace).status_code == 400
    wanted = {("conch.gateway", "text_completion demo"), ("conch.triton", "engine")}
    wait_for(lambda: wanted <= set(spans_of(scopes[1], trace)), lambda: str(set(spans_of(scopes[1], trace))))
    root, engine = (spans_of(scopes[1], trace)[each] for each in sorted(wanted))
    assert engine.parent_span_id == root.span_id
    assert {attributes(each)[names.ERROR_TYPE] for each in (root, engine)} == {"invalid_request_error"}
    assert (root.status.code, engine.status.code) == (UNSET, ERROR)


@pytest.mark.parametrize(
    ("number", "path", "fields"),
    [
        (9, "/v1/embeddings", {"model": "minilm", "input": ["one", "two"]}),
        (10, "/v1/rerank", {"model": "pairs", "query": "one", "documents": ["two", "three"]}),
        (11, "/v1/classify", {"model": "classes", "input": ["one"]}),
    ],
)
def test_an_encoder_is_in_the_trace_of_its_request(
    stack: Stack, scopes: tuple[str, list[Any]], number: int, path: str, fields: dict[str, Any]
) -> None:
    trace = f"{number:032x}"
    post(stack, path, fields, trace).raise_for_status()
    steps = {"encode", "tokenize", "queue", "compute"}
    wanted = {("conch.triton", name) for name in steps}
    wait_for(lambda: len(spans_of(scopes[1], trace)) == len(steps) + 3, lambda: str(set(spans_of(scopes[1], trace))))
    spans = spans_of(scopes[1], trace)
    name = f"{path.rpartition('/')[2]} {fields['model']}"
    assert set(spans) == wanted | {("conch.gateway", each) for each in (name, "queue", "generate")}
    root, encode = spans["conch.gateway", name], spans["conch.triton", "encode"]
    assert encode.parent_span_id == root.span_id
    assert attributes(encode)[names.REQUEST_ID] == attributes(root)[names.REQUEST_ID]
    assert {spans[each].parent_span_id for each in wanted - {("conch.triton", "encode")}} == {encode.span_id}


def test_texts_that_an_encoder_rejects_end_its_span_with_the_error(stack: Stack, scopes: tuple[str, list[Any]]) -> None:
    trace = f"{12:032x}"
    assert post(stack, "/v1/embeddings", {"model": "minilm", "input": "word " * 600}, trace).status_code == 400
    wait_for(lambda: ("conch.triton", "encode") in spans_of(scopes[1], trace))
    assert (
        attributes(spans_of(scopes[1], trace)["conch.triton", "encode"])[names.ERROR_TYPE] == "context_length_exceeded"
    )


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
