"""What of an engine's batch and KV cache its requests have, and whether one more fits.

A flow that has its fair part of the engine leaves room while others ask, so that theirs begin at once and not when one
of its own ends.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Final

from gateway.admission.estimate import Work
from gateway.admission.tally import Row, Tally
from gateway.admission.terms import Capacity

_SPARE: Final = 8  # one request more for so many of the batch, and one in any case
_MIXED_S: Final = 10.0  # how long several flows count as such


def sent_to(tally: Tally, model: str) -> Row:
    """How many requests an engine has been given."""
    return tally.row(f"requests of {model}")


class Shares:
    """Of one engine; `waiting` counts what waits for it in each process.

    Args:
        max_key_share: what part of the engine one flow may fill while others ask; None is the engine's own.
    """

    def __init__(self, model: str, capacity: Capacity, tally: Tally, waiting: Row, max_key_share: float | None) -> None:
        self.capacity = capacity
        self.requests = sent_to(tally, model)
        self.cost = 0  # of what runs here
        self._tokens = tally.row(f"tokens of {model}")
        self._waiting = waiting
        self._max_key_share = max_key_share
        self._running: Counter[str] = Counter()  # by flow
        self._last_flow: str | None = None
        self._mixed_s = -math.inf  # when another flow asked than the last

    @property
    def _most_of_one(self) -> float:
        return self.capacity.max_key_share if self._max_key_share is None else self._max_key_share

    def asked_by(self, flow: str, now_s: float) -> None:
        if self._last_flow not in (None, flow):
            self._mixed_s = now_s
        self._last_flow = flow

    def mixed_for_s(self) -> float:
        """How long flows may have to leave room, if no other asks."""
        return max(0.0, self._mixed_s + _MIXED_S - time.monotonic())

    def add(self, flow: str, work: Work) -> None:
        self._running[flow] += 1
        self.cost += work.cost
        self.requests.own += 1
        self._tokens.own += work.num_tokens

    def remove(self, flow: str, work: Work) -> None:
        self._running[flow] -= 1
        if not self._running[flow]:
            del self._running[flow]
        self.cost -= work.cost
        self.requests.own -= 1
        self._tokens.own -= work.num_tokens

    def fits(self, flow: str, work: Work, beyond_share: bool) -> bool:
        """Whether one more of this flow may go in; `beyond_share` what the other processes leave free."""
        requests, tokens = self._most(flow)
        if not self.requests.total():  # alone a request may be as large as it likes
            tokens = math.inf
        if beyond_share and not self.requests.own:
            return self.requests.total() < requests and self._tokens.total() + work.num_tokens <= tokens
        if self.requests.own >= self.requests.share(requests, self._waiting):
            return False
        return self._tokens.own + work.num_tokens <= self._tokens.share(tokens, self._waiting)

    def _most(self, flow: str) -> tuple[float, float]:
        """Up to how many requests and tokens in the engine one more of this flow may go in."""
        requests, tokens = self.capacity.num_requests, self.capacity.num_tokens
        leaves_room = self.leaves_room(flow)
        share = self._most_of_one if leaves_room else 1 + 1 / _SPARE
        most_tokens = math.inf if tokens is None else share * tokens
        if requests is None:
            return math.inf, most_tokens
        return max(1, share * requests) if leaves_room else requests + max(1, requests // _SPARE), most_tokens

    def leaves_room(self, flow: str) -> bool:
        """Whether others ask, and it has as much of the batch as each of them would get, or as one may have."""
        batch = self.capacity.num_requests
        if batch is None or not self.mixed_for_s():
            return False
        num_flows = len(self._running) + (flow not in self._running)
        fair = batch / max(2, num_flows)  # another asks, if it runs nothing now
        return self._running[flow] >= max(1, min(fair, self._most_of_one * batch))
