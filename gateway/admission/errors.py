"""The answers to requests that are not admitted, besides those of the shared tree in `triton_repo.contract.errors`:

EngineUnavailable
└── ServerOverloaded      503  more waits than the engine can do in time
RequestTimedOut
└── DeadlineExceeded      504  not complete within the time that the client gives
"""

from __future__ import annotations

import math
import random
from typing import Final

from triton_repo.contract.errors import EngineUnavailable, RequestError, RequestTimedOut

LONGEST_RETRY_AFTER_S: Final = 30

_JITTER: Final = 0.5  # so that clients that were rejected together do not come back together


class ServerOverloaded(EngineUnavailable):
    """`drain_s` is how long the engine needs for what waits, as far as it is known."""

    code = "server_is_overloaded"

    def __init__(self, message: str, drain_s: float | None = None) -> None:
        super().__init__(message)
        wait_s = self.retry_after_s if drain_s is None else drain_s
        spread_s = wait_s * (1 + random.random() * _JITTER)  # noqa: S311 - nothing secret
        self.retry_after_s = max(1, min(LONGEST_RETRY_AFTER_S, math.ceil(spread_s)))


class DeadlineExceeded(RequestTimedOut):
    type = "timeout_error"
    code = "deadline_exceeded"


class RateLimitExceeded(RequestError):
    """`retry_after_s`: from when the same request is within the limit, to the millisecond; a guess for `parallel`."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = math.ceil(1000 * retry_after_s) / 1000
