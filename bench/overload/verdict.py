"""What one load came to: who was served in time, and how those were told that were not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.load.answer import Record

WARM_UP_S: Final = 3.0  # before the first answers can have ended
LATE_S: Final = 0.25  # beyond the deadline: the client's own queue

_REJECTED: Final = re.compile(r"HTTP (429|503)")
_EXPIRED: Final = re.compile(r"HTTP 504|error event: .* within ")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Times are in seconds, in ascending order.

    Attributes:
        goodput: answers that were complete within the deadline, per second of the run after its warm-up.
        rejection_s: from when a request was due to its 429 or 503.
        client_lag_s: from when a request was due until the client sent it, which is in all other times.
        expired: told at their deadline that they were not complete.
        late: answers that came after their deadline, or no end at all until then.
    """

    offered: int
    served: int
    goodput: float
    ttft_s: Sequence[float]
    end_to_end_s: Sequence[float]
    rejection_s: Sequence[float]
    client_lag_s: Sequence[float]
    expired: int
    late: int
    errors: int


def judge(records: Sequence[Record], start_s: float, seconds: float, deadline_s: float) -> Verdict:
    whole = [record for record in records if record.error is None]
    good = [record for record in whole if record.end_to_end_s <= deadline_s]
    counted = [record for record in good if start_s + WARM_UP_S <= record.end_s <= start_s + seconds]
    rejected = [record for record in records if record.error and _REJECTED.match(record.error)]
    expired = [record for record in records if record.error and _EXPIRED.match(record.error)]
    late = [record for record in records if record.end_to_end_s > deadline_s + LATE_S]
    return Verdict(
        offered=len(records),
        served=len(whole),
        goodput=len(counted) / (seconds - WARM_UP_S),
        ttft_s=sorted(record.ttft_s for record in good if record.ttft_s is not None),
        end_to_end_s=sorted(record.end_to_end_s for record in whole),
        rejection_s=sorted(record.end_to_end_s for record in rejected),
        client_lag_s=sorted(record.sent_s - record.start_s for record in records if record.sent_s is not None),
        expired=len(expired),
        late=len(late),
        errors=len(records) - len(whole) - len(rejected) - len(expired),
    )
