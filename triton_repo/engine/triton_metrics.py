"""The engine's counters as custom metrics on Triton's own /metrics."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from triton_repo.engine.loop.live_requests import Counters


class EngineMetrics:
    """Publishes `conch_engine_*`, one series per engine and state."""

    def __init__(self, engine: str) -> None:
        gauge, counter = pb_utils.MetricFamily.GAUGE, pb_utils.MetricFamily.COUNTER
        requests = _family("conch_engine_requests", "Live requests by state", gauge)
        ended = _family("conch_engine_requests_ended_total", "Requests that ended, by outcome", counter)
        kv_cache = _family("conch_engine_kv_cache_utilization", "Share of the paged KV cache in use", gauge)
        kv_blocks = _family("conch_engine_kv_cache_blocks", "Blocks of the paged KV cache, 0 if not known", gauge)
        per_block = _family("conch_engine_kv_cache_tokens_per_block", "Tokens of a block, 0 if not known", gauge)
        tokens = _family("conch_engine_generated_tokens_total", "Tokens sampled", counter)
        step_age = _family("conch_engine_step_age_seconds", "Age of the running step, 0 below a second", gauge)
        labels = {"model": engine}
        self._gauges: dict[str, Any] = {
            state: requests.Metric(labels={**labels, "state": state}) for state in ("live", "running", "waiting")
        }
        self._gauges["kv_cache"] = kv_cache.Metric(labels=labels)
        self._gauges["kv_blocks"] = kv_blocks.Metric(labels=labels)
        self._gauges["tokens_per_block"] = per_block.Metric(labels=labels)
        self._counters: dict[str, Any] = {
            outcome: ended.Metric(labels={**labels, "outcome": outcome})
            for outcome in ("finished", "cancelled", "failed")
        }
        self._counters["tokens"] = tokens.Metric(labels=labels)
        self._step_age = step_age.Metric(labels=labels)
        # A metric lives as long as its family.
        self._families = (requests, ended, kv_cache, kv_blocks, per_block, tokens, step_age)
        self._shown: dict[str, float] = dict.fromkeys(self._gauges, -1.0)
        self._counted = dict.fromkeys(self._counters, 0)
        self._shown_step_age_s = -1.0

    def observe(self, counters: Counters) -> None:
        """Publish the new values. Unchanged ones are skipped: each call is a round trip to tritonserver.

        Each may fail by itself; what was published before is not published twice by the next call. Counters go first:
        whoever reads that no request is live then reads how each ended.
        """
        shown = {
            "live": counters.live,
            "running": counters.load.running,
            "waiting": counters.load.waiting,
            "kv_cache": counters.load.kv_cache_utilization,
            "kv_blocks": counters.load.kv_cache_blocks,
            "tokens_per_block": counters.load.tokens_per_block,
        }
        counted = {
            "finished": counters.finished,
            "cancelled": counters.cancelled,
            "failed": counters.failed,
            "tokens": counters.generated_tokens,
        }
        for name, count in counted.items():
            if count > self._counted[name]:
                self._counters[name].increment(count - self._counted[name])
                self._counted[name] = count
        for name, value in shown.items():
            if value != self._shown[name]:
                self._gauges[name].set(value)
                self._shown[name] = value

    def close(self) -> None:
        """Give the metrics back while Triton still answers: a family that is destroyed when the interpreter ends finds
        the stub's shared memory gone, and the stub ends by a segmentation fault (python_backend 24.10)."""
        self._gauges.clear()
        self._counters.clear()
        del self._step_age, self._families

    def observe_step_age(self, age_s: float) -> None:
        """Publish the age of the running step; called by another thread than `observe`."""
        if age_s != self._shown_step_age_s:
            self._step_age.set(age_s)
        self._shown_step_age_s = age_s


def _family(name: str, description: str, kind: Any) -> Any:
    return pb_utils.MetricFamily(name=name, description=description, kind=kind)
