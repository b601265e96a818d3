"""One point of a sweep: what it is known by, and what came of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench.load.summary import Summary
from bench.options import Api
from bench.sweep.grid import Settings

FORMAT: Final = 1

# Time to first token, between tokens, end to end; seconds, of one request that succeeded.
Latencies = tuple[float | None, float | None, float]


@dataclass(frozen=True, slots=True)
class Load:
    """The requests that every point is sent; `warmup` None is one for each client. Lengths are laws of tokens."""

    requests: int
    warmup: int | None
    prompt_tokens: str
    output_tokens: str
    ignore_eos: bool
    temperature: float | None
    api: Api
    seed: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a run in which a request succeeded. `latencies` let another SLO be applied afterwards."""

    summary: Summary
    latencies: Sequence[Latencies]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`measured`, or else the `failure`: why there is nothing."""

    fingerprint: str
    settings: Settings
    concurrency: int
    measured: Measured | None = None
    failure: str | None = None

    @property
    def whole(self) -> bool:
        """It was measured, and every request succeeded."""
        return self.measured is not None and not self.measured.summary.failed


def fingerprint(spec: Mapping[str, Any], engine: str, load: Load, concurrency: int, machine: Mapping[str, Any]) -> str:
    """Hexadecimal, 64 characters, of all that decides a point's figures: what it is known by on file.

    `engine` is the fingerprint of what was built; `machine` is the processor and the versions that ran.
    """
    decisive = [FORMAT, spec, engine, asdict(load), concurrency, machine]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
