"""Whatever happens to an engine, in whatever order: each request ends once, and nothing is left of it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.triton_repo.engine.loop.ledger import FLUSH_S, Ledger, clock, happen
from triton_repo.engine.loop.delivery import Delivery
from triton_repo.engine.loop.flush import FlushClock
from triton_repo.engine.loop.outlet import Outlet
from triton_repo.engine.loop.rows import SharedSink
from triton_repo.engine.loop.stream import Stream

NUMBERS = st.integers(0, 20)
IDS = st.sampled_from(["a", "b", "c"])
CHANNELS = st.sampled_from(["", "x", "y"])


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What fails is logged, and here much does."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


class Engine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._clock = clock()
        self.ledger = Ledger(self._clock.__enter__())

    @rule(id=IDS, max_tokens=st.integers(1, 9), stream=st.booleans(), channel=CHANNELS, stop=st.booleans())
    def submit(self, id: str, max_tokens: int, stream: bool, channel: str, stop: bool) -> None:
        self.ledger.submit(id, max_tokens, stream, channel, stop)

    @rule(id=IDS, num_rows=st.integers(2, 4), channel=CHANNELS)
    def submit_rows(self, id: str, num_rows: int, channel: str) -> None:
        self.ledger.submit(id, 3, True, channel, False, num_rows=num_rows)

    @rule(name=st.sampled_from(["a", "b", "c", "a/0", "b/1", "x", "y"]))
    def stop(self, name: str) -> None:
        self.ledger.stop(name)

    @rule(name=st.sampled_from(["x", "y"]))
    def subscribe(self, name: str) -> None:
        self.ledger.subscribe(name)

    @rule(name=st.sampled_from(["x", "y"]))
    def renew(self, name: str) -> None:
        self.ledger.renew(name)

    @rule(event=st.sampled_from([Ledger.leave, Ledger.fail, Ledger.lose]), number=NUMBERS)
    def fault(self, event: Callable[[Ledger, int], None], number: int) -> None:
        event(self.ledger, number)

    @rule(event=st.sampled_from([Ledger.reject, Ledger.crash, Ledger.restart, Ledger.quiet]))
    def larger_fault(self, event: Callable[[Ledger], None]) -> None:
        event(self.ledger)

    @rule(passes_s=st.sampled_from([0.0, 0.01, FLUSH_S, 0.2, 3.0]))
    def turn(self, passes_s: float) -> None:
        self.ledger.turn(passes_s)

    def teardown(self) -> None:
        try:
            self.ledger.close()
        finally:
            self._clock.__exit__(None, None, None)


def test_every_request_ends_once_whatever_happens() -> None:
    budget = settings(max_examples=40, stateful_step_count=40, suppress_health_check=[*HealthCheck])
    run_state_machine_as_test(Engine, settings=budget)


def many_steps(num_steps: int, seed: int) -> None:
    chance = random.Random(seed)
    with clock() as now:
        ledger = Ledger(now, chance)
        try:
            for _ in range(num_steps):
                happen(ledger, chance)
            ledger.quiet()
            ledger.close()
        finally:
            ledger.engine.close()


def test_every_request_ends_once_in_thousands_of_steps() -> None:
    many_steps(5000, seed=1)


def nothing(*_: Any, **__: Any) -> None: ...


@pytest.mark.parametrize(
    ("owner", "name", "planted"),
    [
        (Outlet, "forget", nothing),  # what waits for one that has ended is sent all the same
        (SharedSink, "end_row", nothing),  # a message of rows never ends
        (FlushClock, "note", nothing),  # what is generated is never sent
        (Stream, "end", nothing),  # a cancelled request does not say so
        (Delivery, "fail", nothing),  # a request that fails is not told
    ],
)
def test_the_ledger_sees_a_planted_bug(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, planted: Callable[..., None]
) -> None:
    monkeypatch.setattr(owner, name, planted)
    with pytest.raises((AssertionError, KeyError)):
        many_steps(3000, seed=2)
