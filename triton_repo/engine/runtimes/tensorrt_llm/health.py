"""Whether the executor of TensorRT-LLM still runs, asked of the `LLM` and of its proxy (`GenerationExecutor`).

The public interface tells only a request, when it is made or answered. Taking the error out of the proxy's queue keeps
it from shutting down from within, which waits for workers that may be gone.
"""

from __future__ import annotations

from typing import Any


def background_error(llm: Any) -> Exception | None:
    """What has ended the executor of an `LLM`; None while it runs."""
    executor = llm._executor
    errors = getattr(executor, "_error_queue", None)
    if errors is not None and not errors.empty():
        error = errors.get_nowait()
        return error if isinstance(error, Exception) else RuntimeError(str(error))
    if executor is None or executor.is_shutdown():
        return RuntimeError("the executor has shut down")
    is_healthy = getattr(llm, "_check_health", None)  # 1.2 may not have it
    return RuntimeError("the executor is not healthy") if is_healthy is not None and not is_healthy() else None
