from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.fake_tensorrt_llm import Version, importable
from tests.triton_repo import fake_backend


@pytest.fixture
def tensorrt_llm(request: pytest.FixtureRequest) -> Iterator[Version]:
    """The stand-in for TensorRT-LLM 1.2.1, or for the version that is the parameter, as if it were installed."""
    version: Version = getattr(request, "param", "1.2.1")
    with importable(version):
        yield version


@pytest.fixture
def python_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The stand-in for Triton's Python backend, as in a stub."""
    adapters = ("triton_python_backend_utils", "triton_repo.engine.triton_metrics")
    monkeypatch.syspath_prepend(fake_backend.PATH)
    yield
    for name in adapters:
        sys.modules.pop(name, None)
