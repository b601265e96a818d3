"""A stand-in for TensorRT-LLM 1.4.0rc1, which has the LLM API of 1.3.0rc26 and later."""

from __future__ import annotations

from pathlib import Path

__path__.append(str(Path(__file__).parents[2] / "shared" / "tensorrt_llm"))

from tensorrt_llm.llmapi import LLM, SamplingParams  # noqa: E402

__version__ = "1.4.0rc1"
__all__ = ["LLM", "SamplingParams", "__version__"]
