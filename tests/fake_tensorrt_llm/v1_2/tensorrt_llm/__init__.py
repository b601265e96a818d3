"""A stand-in for TensorRT-LLM 1.2.1."""

from __future__ import annotations

from pathlib import Path

__path__.append(str(Path(__file__).parents[2] / "shared" / "tensorrt_llm"))

from tensorrt_llm.llmapi import LLM, SamplingParams  # noqa: E402

__version__ = "1.2.1"
__all__ = ["LLM", "SamplingParams", "__version__"]
