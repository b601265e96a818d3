from __future__ import annotations

from tensorrt_llm.llmapi.llm import TrtLLM

LLM = TrtLLM

__all__ = ["LLM"]
