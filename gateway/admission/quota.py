"""What one key may ask for: requests and tokens per minute, and requests at a time.

A rate is a bucket of one minute's worth that fills all the time (the generic cell rate algorithm): all that is kept is
the moment at which it will be full again. Tokens are taken by estimate when a request comes, and corrected by what it
has cost when it ends. All processes of the gateway take from the same buckets.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from gateway.admission.errors import RateLimitExceeded
from gateway.admission.tally import Tally

RETRY_HEADERS: Final = (
    *("retry-after", "retry-after-ms"),
    *(f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in ("requests", "tokens")),
)

_MINUTE_NS: Final = 60 * 10**9
_SECOND_NS: Final = 10**9
_PARALLEL_RETRY_S: Final = 1.0  # when one of them ends is not known


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel: int | None = None


NO_LIMITS: Final = Limits()


class Bucket:
    """`kind` is "requests" or "tokens", `limit` how many of them a minute."""

    def __init__(self, kind: str, key: str, limit: int, tally: Tally) -> None:
        self.kind = kind
        self.limit = limit
        self._name = f"{kind} of key {key}"
        self._each_ns = _MINUTE_NS / limit
        self._tally = tally

    def take(self, amount: int) -> float:
        """Take so many; else the seconds until there are as many. More than a minute's worth need a full bucket."""
        now_ns = time.monotonic_ns()
        needed_ns = round(amount * self._each_ns)
        missing_ns = 0

        def taken(full_ns: int) -> int:
            nonlocal missing_ns
            missing_ns = max(0, full_ns - now_ns) + min(needed_ns, _MINUTE_NS) - _MINUTE_NS
            return full_ns if missing_ns > 0 else max(full_ns, now_ns) + needed_ns

        self._tally.change_common(self._name, taken)
        return max(0, missing_ns) / _SECOND_NS

    def correct(self, amount: int) -> None:
        """So many more, or fewer, were needed than were taken."""
        more_ns, now_ns = round(amount * self._each_ns), time.monotonic_ns()
        self._tally.change_common(
            self._name, lambda full_ns: (max(full_ns, now_ns) if more_ns > 0 else full_ns) + more_ns
        )

    def headers(self) -> dict[str, str]:
        """In the form of OpenAI's."""
        left_ns = max(0, self._tally.change_common(self._name, int) - time.monotonic_ns())
        return {
            f"x-ratelimit-limit-{self.kind}": str(self.limit),
            f"x-ratelimit-remaining-{self.kind}": str(max(0, int((_MINUTE_NS - left_ns) / self._each_ns))),
            f"x-ratelimit-reset-{self.kind}": duration(left_ns / _SECOND_NS),
        }


class Quota:
    """Of the key of that name."""

    def __init__(self, key: str, limits: Limits, tally: Tally) -> None:
        self.limits = limits
        self._key = key
        self._requests = _bucket("requests", key, limits.requests_per_minute, tally)
        self._tokens = _bucket("tokens", key, limits.tokens_per_minute, tally)
        self._open = tally.row(f"open of key {key}")

    def take_request(self) -> None:
        """
        Raises:
            RateLimitExceeded: the key has asked too often.
        """
        self._take(self._requests, 1)

    def take_tokens(self, amount: int) -> None:
        """
        Raises:
            RateLimitExceeded: the key has asked for too many.
        """
        self._take(self._tokens, amount)

    def correct_tokens(self, amount: int) -> None:
        if self._tokens and amount:
            self._tokens.correct(amount)

    def __enter__(self) -> Quota:
        """A request is being answered, until the end of the block.

        Raises:
            RateLimitExceeded: so many are already.
        """
        self._open.own += 1
        parallel = self.limits.parallel
        if parallel is not None and self._open.total() > parallel:
            self._open.own -= 1
            message = f"key {self._key}: {parallel} requests are being answered, as many as it may have at a time"
            raise RateLimitExceeded(message, _PARALLEL_RETRY_S)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._open.own -= 1

    @property
    def num_open(self) -> int:
        return self._open.total()

    def headers(self) -> Mapping[str, str]:
        """How much is left, for a response."""
        headers: dict[str, str] = {}
        for bucket in (self._requests, self._tokens):
            if bucket:
                headers |= bucket.headers()
        return headers

    def _take(self, bucket: Bucket | None, amount: int) -> None:
        if bucket and (wait_s := bucket.take(amount)):
            message = f"key {self._key}: more than {bucket.limit} {bucket.kind} per minute; {wait_s:.3f} s too early"
            raise RateLimitExceeded(message, wait_s)


class Quotas:
    """Those of all keys."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._quotas: dict[str, Quota] = {}

    def of(self, key: str, limits: Limits) -> Quota:
        """Another one after the key's limits have changed, with what it has taken."""
        quota = self._quotas.get(key)
        if quota is None or quota.limits != limits:
            quota = self._quotas[key] = Quota(key, limits, self._tally)
        return quota


def duration(seconds: float) -> str:
    """As OpenAI writes it, and Go: 120ms, 1.5s, 6m0s."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{text}" if minutes else text


def _bucket(kind: str, key: str, limit: int | None, tally: Tally) -> Bucket | None:
    return None if limit is None else Bucket(kind, key, limit, tally)


UNLIMITED: Final = Quota("", NO_LIMITS, Tally())
