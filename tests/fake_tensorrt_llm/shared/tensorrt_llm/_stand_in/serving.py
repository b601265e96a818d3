"""What an LLM of either version does once it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeVar

from tensorrt_llm._stand_in.executor import Executor


class HasEndId(Protocol):
    end_id: int | None


Params = TypeVar("Params", bound=HasEndId)


class Serving:
    _executor: Executor | None

    def _open_executor(self) -> Executor:
        if self._executor is None or self._executor.is_shutdown():
            raise RuntimeError("LLM is shutting down")
        return self._executor

    def get_stats_async(self, timeout: float | None = 2) -> AsyncIterator[dict[str, Any]]:
        if self._executor is None:
            raise RuntimeError("LLM is shutting down")
        stats: AsyncIterator[dict[str, Any]] = self._executor.stats()
        return stats

    def shutdown(self) -> None:
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None


def checked_params(given: Any, wanted: type[Params]) -> Params:
    if not isinstance(given, wanted):
        raise TypeError(f"The sampling_params must be type SamplingParams or None, but got {given!r}")
    if given.end_id is None:
        raise ValueError("tokenizer is required to reset end_id if it is None")
    return given
