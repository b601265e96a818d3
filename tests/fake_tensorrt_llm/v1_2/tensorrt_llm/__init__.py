"""A stand-in for TensorRT-LLM 1.2.1 without a GPU: the part of its LLM API that Conch uses, by the same signatures.

It refuses what the real one refuses, and says it in the same kinds of errors. An answer is the prompt, over and over
until `max_tokens`, or once and then the end id; to a guide, the guide's own text. Two token ids in a prompt make
trouble, see `executor`.
"""

from __future__ import annotations

from tensorrt_llm.llmapi import LLM, SamplingParams

__version__ = "1.2.1"
__all__ = ["LLM", "SamplingParams", "__version__"]
