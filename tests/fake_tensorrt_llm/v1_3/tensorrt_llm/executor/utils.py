from __future__ import annotations

from tensorrt_llm._stand_in.behaviour import RequestError


class EngineDeadError(RuntimeError):
    """Raised by pending and new requests once the engine is known dead."""


__all__ = ["EngineDeadError", "RequestError"]
