from __future__ import annotations

from tensorrt_llm._stand_in.results import CompletionOutput, RequestOutput
from tensorrt_llm.executor.utils import RequestError

__all__ = ["CompletionOutput", "RequestError", "RequestOutput"]
