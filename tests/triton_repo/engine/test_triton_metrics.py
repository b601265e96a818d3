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


class Recording:
    """A metric that notes its name in a list that it shares with others."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self._name, self._calls = name, calls

    def set(self, _value: float) -> None:
        self._calls.append(self._name)

    increment = set


def test_how_a_request_ended_is_counted_before_it_is_gone() -> None:
    from triton_repo.engine.triton_metrics import EngineMetrics

    metrics = EngineMetrics("tiny")
    calls: list[str] = []
    for group in (metrics._gauges, metrics._counters):
        group.update({name: Recording(name, calls) for name in group})
    metrics.observe(Counters(Load(0, 0, 0.0), live=0, finished=0, cancelled=1, failed=0, generated_tokens=9))
    assert calls.index("cancelled") < calls.index("live")


def test_no_metric_outlives_the_model() -> None:
    """Triton's own are destroyed with the interpreter otherwise, by which time its shared memory is gone: a crash."""
    from triton_repo.engine.triton_metrics import EngineMetrics

    metrics = EngineMetrics("tiny")
    alive = [weakref.ref(metric) for metric in (*metrics._families, *metrics._counters.values(), metrics._step_age)]
    metrics.close()
    gc.collect()
    assert [metric() for metric in alive if metric() is not None] == []
