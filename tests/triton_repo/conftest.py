from __future__ import annotations

import pytest

from tests.fake_tensorrt_llm import PATH


@pytest.fixture
def tensorrt_llm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in for TensorRT-LLM, as if it were installed."""
    monkeypatch.syspath_prepend(PATH)
