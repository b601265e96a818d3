"""Metrics and questions to Triton that fail: no request fails with them."""

from __future__ import annotations

import threading

from tests.triton_repo.engine.loop.running_loop import AT_ONCE, TEXT, eventually, request
from tests.triton_repo.engines_under_test import RecordingSink
from triton_repo.contract.engine_config import ReplayConfig
from triton_repo.engine.loop.live_requests import Counters
from triton_repo.engine.loop.loop import MAX_FAILURES, EngineLoop, LoopSettings
from triton_repo.engine.runtimes.replay import ReplayRuntime
from triton_repo.engine.runtimes.runtime import Load, Runtime


class Failing:
    """Raises, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: object) -> None:
        self.calls += 1
        raise OSError("the other process is gone")


def finishes_a_request(runtime: Runtime, failing: Failing, sink: RecordingSink, observe: Failing | None = None) -> None:
    """While `failing` fails more often than an engine may fail in a row."""
    given_up = threading.Event()
    loop = EngineLoop(runtime, LoopSettings(AT_ONCE), observe or (lambda _: None), give_up=given_up.set)
    loop.submit("a", request(20), sink)
    eventually(lambda: failing.calls > MAX_FAILURES or sink.ends == 1)
    eventually(lambda: sink.ends == 1)
    loop.close()
    assert not given_up.is_set()
    assert sink.errors == []
    assert failing.calls > MAX_FAILURES


def replay() -> ReplayRuntime:
    return ReplayRuntime(ReplayConfig(token_ids=TEXT, tokens_per_second=20))


def test_counters_that_cannot_be_published_fail_no_request() -> None:
    failing = Failing()
    finishes_a_request(replay(), failing, RecordingSink(), observe=failing)


def test_a_runtime_that_cannot_tell_its_load_fails_no_request() -> None:
    failing = Failing()

    class Loadless(ReplayRuntime):
        def load(self) -> Load:
            failing()
            return super().load()

    finishes_a_request(Loadless(ReplayConfig(token_ids=TEXT, tokens_per_second=20)), failing, RecordingSink())


def test_a_client_that_cannot_be_asked_about_counts_as_there() -> None:
    failing = Failing()

    class Mute(RecordingSink):
        def abandoned(self) -> bool:
            failing()
            return False

    finishes_a_request(replay(), failing, Mute())


def test_counters_are_published_again_once_that_works() -> None:
    seen, failures = list[Counters](), iter(range(3))

    def observe(counters: Counters) -> None:
        if next(failures, None) is not None:
            raise OSError("not yet")
        seen.append(counters)

    sink = RecordingSink()
    loop = EngineLoop(replay(), LoopSettings(AT_ONCE), observe)
    loop.submit("a", request(20), sink)
    eventually(lambda: bool(seen) and seen[-1].finished == 1)
    loop.close()
