"""Counters as Triton's metrics: each event counts once, whatever fails on the way."""

from __future__ import annotations

import gc
import weakref

import pytest

from triton_repo.engine.loop.live_requests import Counters
from triton_repo.engine.runtimes.runtime import Load

pytestmark = pytest.mark.usefixtures("python_backend")


class FailingOnce:
    """A metric of Triton whose first call fails."""

    def __init__(self) -> None:
        self.failed = False
        self.total = 0.0

    def increment(self, value: float) -> None:
        if not self.failed:
            self.failed = True
            raise OSError("the server does not answer")
        self.total += value


def test_nothing_is_counted_twice_after_a_metric_that_failed() -> None:
    from triton_repo.engine.triton_metrics import EngineMetrics

    metrics = EngineMetrics("tiny")
    metrics._counters["cancelled"] = broken = FailingOnce()
    counters = Counters(Load(1, 0, 0.5), live=1, finished=3, cancelled=2, failed=1, generated_tokens=9)
    with pytest.raises(OSError, match="does not answer"):
        metrics.observe(counters)
    metrics.observe(counters)
    assert broken.total == 2
    assert {name: metric.total for name, metric in metrics._counters.items()} == {
        "finished": 3, "cancelled": 2, "failed": 1, "tokens": 9
    }  # fmt: skip


def test_no_metric_outlives_the_model() -> None:
    """Triton's own are destroyed with the interpreter otherwise, by which time its shared memory is gone: a crash."""
    from triton_repo.engine.triton_metrics import EngineMetrics

    metrics = EngineMetrics("tiny")
    alive = [weakref.ref(metric) for metric in (*metrics._families, *metrics._counters.values(), metrics._step_age)]
    metrics.close()
    gc.collect()
    assert [metric() for metric in alive if metric() is not None] == []
