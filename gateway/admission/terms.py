"""On which terms a request is admitted: whose turn it takes, and how long its client waits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.admission.quota import UNLIMITED, Quota

PRIORITY: Final = 0.5  # of a request that does not say
KEY_SHARE: Final = 0.75  # of an engine: what one flow may fill while others ask
# By runtime, where it is another. Each step on a CPU takes longer with each sequence, so that room in the batch is not
# enough: beside 12 sequences an answer takes three times as long as alone. Of a small model 4 have as many tokens a
# second as 16.
KEY_SHARES: Final[Mapping[str, float]] = {"openvino": 0.25}


@dataclass(frozen=True, slots=True)
class Terms:
    """Times are on `time.monotonic`.

    Attributes:
        flow: all requests of one flow share its turns; it is the name of a key.
        quota: what its key may ask for.
        batch: gets no turn while others wait that are not.
        complete_by_s: when the client wants the whole answer.
        begin_by_s: when the client gives up if nothing has come.
        priority: 0 to 1; of one flow those of higher priority have their turns first.
    """

    flow: str = ""
    quota: Quota = UNLIMITED
    batch: bool = False
    complete_by_s: float = math.inf
    begin_by_s: float = math.inf
    priority: float = PRIORITY


ANYONES: Final = Terms()


@dataclass(frozen=True, slots=True)
class Policy:
    """`queue_timeout_s` is the longest wait for a turn; `max_key_share` what part of an engine one flow may fill while
    others ask, None is the engine's own."""

    queue_timeout_s: float
    max_key_share: float | None = 1.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What an engine can run at once; None is not known.

    Attributes:
        num_requests: its batch.
        num_tokens: of its KV cache.
        max_seq_len: of one request, prompt and answer.
        max_key_share: what part of it one flow may fill while others ask, unless the policy says.
    """

    num_requests: int | None
    num_tokens: int | None
    max_seq_len: int
    max_key_share: float = KEY_SHARE
