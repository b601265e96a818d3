"""Calls whose failure must not fail what they are a part of: metrics, load figures, questions to Triton."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")
_LOG_INTERVAL_S: Final = 60.0  # these calls are made many times a second, and may fail every time


class BestEffort:
    """Logs `failure` when a call raises, once a minute at most. Used by one thread."""

    def __init__(self, failure: str) -> None:
        self._failure = failure
        self._next_log_s = float("-inf")

    def call(self, function: Callable[[], T], default: T) -> T:
        """What the function returns; `default` if it raises."""
        try:
            return function()
        except Exception:  # the boundary of what is nice to have
            now_s = time.monotonic()
            if now_s >= self._next_log_s:
                self._next_log_s = now_s + _LOG_INTERVAL_S
                logger.exception(self._failure)
            return default
