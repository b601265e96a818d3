"""The Triton models themselves, on a stand-in for Triton's Python backend: one bad request or row fails alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build_scripts.build import ensure_engine
from tests.gateway.metrics.tracing.receiver import attributes, receiver
from tests.triton_repo.engine.loop.running_loop import eventually
from tests.triton_repo.fake_backend import load_model
from tests.triton_repo.fake_backend.fake_requests import Request, texts
from tests.triton_repo.preprocess.engines_with_templates import write_spec
from triton_repo.tracing import conventions as names
from triton_repo.tracing.steps import ENDPOINT_VARIABLE, TRACEPARENT

pytestmark = pytest.mark.usefixtures("python_backend")

PROMPT = np.array([[5, 6, 7]], dtype=np.int32)


@contextmanager
def initialized(step: str, directory: Path | None = None) -> Iterator[Any]:
    """The model of one step of an engine, by default of `replay`."""
    engine = ensure_engine("replay").directory if directory is None else directory
    model, name = load_model(step).TritonPythonModel(), f"{engine.name}_{step}"
    model.initialize({"model_repository": str(engine / "triton" / name), "model_name": name})
    yield model
    model.finalize()


@pytest.fixture
def engine() -> Iterator[Any]:
    with initialized("engine") as model:
        yield model


@pytest.fixture
def preprocess() -> Iterator[Any]:
    with initialized("preprocess") as model:
        yield model


def test_a_request_whose_tensor_cannot_be_read_fails_alone(engine: Any) -> None:
    good, bad = Request("good", {"input_ids": PROMPT}), Request("bad", {"input_ids": ValueError("not a tensor")})
    engine.execute([bad, good])
    eventually(lambda: bool(good.responses))
    [response] = bad.responses
    assert response.error().message() == "the request could not be accepted [conch:EngineFailed:]"
    assert good.responses[0].error() is None


def test_a_request_that_cannot_be_answered_fails_alone(engine: Any) -> None:
    good, gone = Request("good", {"input_ids": PROMPT}), Request("gone", {}, RuntimeError("it has been released"))
    engine.execute([gone, good])
    eventually(lambda: bool(good.responses))
    assert good.responses[0].error() is None


def test_what_the_engine_rejects_ends_its_span_with_the_code_of_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {"input_ids": PROMPT, "end_id": np.array([[1 << 30]], dtype=np.int32)}
    traced = {TRACEPARENT: "00-0af7651916cd43dd8448eb211c80319c-f7ad6b7169203331-01"}
    with receiver() as (url, scopes):
        monkeypatch.setenv(ENDPOINT_VARIABLE, url)
        with initialized("engine") as engine:
            engine.execute([Request("wrong", tensors, parameters=traced)])
    spans = {span.name: span for scope in scopes for span in scope.spans}
    assert set(spans) == {"engine", "queue"}
    assert attributes(spans["engine"]) == {names.REQUEST_ID: "wrong", names.ERROR_TYPE: "invalid_request_error"}


def test_a_row_that_asks_for_what_is_not_available_is_rejected_alone(preprocess: Any) -> None:
    rows = Request("a", {"text_input": texts("one", "two"), "beam_width": np.array([[1], [2]], dtype=np.int32)})
    [response] = preprocess.execute([rows])
    outputs = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
    [[accepted], [rejected]] = outputs["rejection"].tolist()
    assert accepted == b""
    assert rejected.startswith(b"beam_width: beam search is not available")


def test_a_single_row_that_asks_for_what_is_not_available_is_the_requests_error(preprocess: Any) -> None:
    row = Request("a", {"text_input": texts("one"), "beam_width": np.array([[2]], dtype=np.int32)})
    [response] = preprocess.execute([row])
    assert response.error().message().endswith("[conch:UnsupportedParameter:beam_width]")


def test_a_prompt_that_cannot_be_read_fails_alone(preprocess: Any) -> None:
    good, bad = Request("good", {"text_input": texts("hi")}), Request("bad", {"text_input": ValueError("not a tensor")})
    [failed, answered] = preprocess.execute([bad, good])
    assert failed.error().message() == "the prompt could not be prepared [conch:EngineFailed:]"
    assert answered.error() is None


SLOW_TEMPLATE = """{% if messages[0].content == 'slow' %}
{%- for i in range(99999) %}{% for j in range(40) %}{% endfor %}{% endfor %}{% endif %}{{ messages[0].content }}"""


def test_a_prompt_that_takes_long_is_answered_later_and_the_others_at_once(tmp_path: Path) -> None:
    engine = ensure_engine(str(write_spec(tmp_path, "slow", SLOW_TEMPLATE))).directory
    slow, beside, later = (
        Request(text, {"chat": texts(json.dumps({"messages": [{"role": "user", "content": text}]}))})
        for text in ("slow", "beside", "later")
    )
    with initialized("preprocess", engine) as preprocess:
        given = preprocess.execute([slow, beside])
        assert given[0] is None
        given += preprocess.execute([later])
        sent_later = [slow.responses, beside.responses, later.responses]
        assert slow.responses == []
        eventually(lambda: all(at_once or sent for at_once, sent in zip(given, sent_later, strict=True)))
        responses = [at_once or sent[0] for at_once, sent in zip(given, sent_later, strict=True)]
    assert [response.error() for response in responses] == [None] * 3
