"""Outcomes of sweeps, made of a few figures."""

from __future__ import annotations

import hashlib

from bench.load.summary import Distribution, Summary
from bench.sweep.grid import Settings
from bench.sweep.outcome import Measured, Outcome


def outcome(
    tokens_per_s: float = 100.0,
    ttft_p99_ms: float | None = 50.0,
    settings: Settings | None = None,
    concurrency: int = 1,
    failed: int = 0,
) -> Outcome:
    """A point of 100 requests in 10 seconds; between tokens 10 ms, end to end 1 s."""
    ttft_s = None if ttft_p99_ms is None else ttft_p99_ms / 1000
    summary = Summary(
        name=f"{concurrency} at a time",
        wall_s=10.0,
        succeeded=100,
        failed=failed,
        errors={"HTTP 503: busy": failed} if failed else {},
        ttft_s=Distribution(100, ttft_s, {50: ttft_s, 90: ttft_s, 99: ttft_s}),
        itl_s=Distribution(100, 0.01, {50: 0.01, 90: 0.01, 99: 0.01}),
        gap_s=Distribution(100, 0.01, {50: 0.01, 90: 0.01, 99: 0.01}),
        end_to_end_s=Distribution(100, 1.0, {50: 1.0, 90: 1.0, 99: 1.0}),
        requests_per_s=10.0,
        prompt_tokens=700,
        completion_tokens=round(tokens_per_s * 10),
        output_tokens_per_s=tokens_per_s,
        goodput_per_s=None,
    )
    known = named(tokens_per_s, ttft_p99_ms, settings, concurrency, failed)
    return Outcome(known, settings or {}, concurrency, Measured(summary, [(ttft_s, 0.01, 1.0)] * 100))


def failure(settings: Settings | None = None, reason: str = "conch serve ended with 2") -> Outcome:
    return Outcome(named(settings, reason), settings or {}, 1, failure=reason)


def named(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
