from __future__ import annotations

from tensorrt_llm._stand_in.behaviour import RequestError
from tensorrt_llm._stand_in.results import CompletionOutput, RequestOutput

__all__ = ["CompletionOutput", "RequestError", "RequestOutput"]
