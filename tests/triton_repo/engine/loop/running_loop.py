"""An engine loop as the tests of it run one: what is asked of it, what takes its answers, how long a test waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing

from tests.triton_repo.engines_under_test import RecordingSink
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.loop.flush import FlushIntervals
from triton_repo.engine.loop.live_requests import Counters
from triton_repo.engine.loop.loop import EngineLoop, LoopSettings
from triton_repo.engine.loop.stream import Emission
from triton_repo.engine.request import EngineRequest
from triton_repo.engine.runtimes.runtime import Runtime

WAIT_S = 120
AT_ONCE = FlushIntervals(0, 0)
TEXT = tuple(range(10, 30))


def request(max_tokens: int = 8, *, stream: bool = True, stop: tuple[tuple[int, ...], ...] = ()) -> EngineRequest:
    return EngineRequest([1, 2, 3], max_tokens, (2,), Sampling(ignore_eos=True), stop, stream)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.001)


def engine_loop(
    runtime: Runtime, flush_s: float = 0.0, observe: Callable[[Counters], None] = lambda _: None
) -> AbstractContextManager[EngineLoop]:
    return closing(EngineLoop(runtime, LoopSettings(FlushIntervals(flush_s, flush_s)), observe))


class BrokenSink(RecordingSink):
    """A client that Triton has given up."""

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:  # noqa: ARG002
        super().send(emissions, final=False)
        raise RuntimeError("the response sender is closed")
