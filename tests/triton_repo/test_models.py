"""The Triton models themselves, on a stand-in for Triton's Python backend: one bad request or row fails alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from build_scripts.build import ensure_engine
from tests.triton_repo.engine.loop.running_loop import eventually
from tests.triton_repo.fake_backend import load_model
from tests.triton_repo.fake_backend.requests import Request, texts

pytestmark = pytest.mark.usefixtures("python_backend")

PROMPT = np.array([[5, 6, 7]], dtype=np.int32)


def initialized(step: str) -> Any:
    directory = ensure_engine("replay").directory
    model = load_model(step).TritonPythonModel()
    model.initialize({"model_repository": str(directory / "triton" / f"replay_{step}")})
    return model


@pytest.fixture
def engine() -> Iterator[Any]:
    model = initialized("engine")
    yield model
    model.finalize()


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


def test_a_row_that_asks_for_what_is_not_available_is_rejected_alone() -> None:
    rows = Request("a", {"text_input": texts("one", "two"), "beam_width": np.array([[1], [2]], dtype=np.int32)})
    [response] = initialized("preprocess").execute([rows])
    outputs = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
    [[accepted], [rejected]] = outputs["rejection"].tolist()
    assert accepted == b""
    assert rejected.startswith(b"beam_width: beam search is not available")


def test_a_single_row_that_asks_for_what_is_not_available_is_the_requests_error() -> None:
    row = Request("a", {"text_input": texts("one"), "beam_width": np.array([[2]], dtype=np.int32)})
    [response] = initialized("preprocess").execute([row])
    assert response.error().message().endswith("[conch:UnsupportedParameter:beam_width]")
