"""One bound on open requests, kept by several processes."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import NoReturn

import pytest

from gateway.admission import tally as tally_module
from gateway.admission.admission import Admission
from gateway.admission.errors import RateLimitExceeded
from gateway.admission.quota import Limits, Quota, Quotas
from gateway.admission.tally import Tally, create_slots
from gateway.admission.terms import Terms
from gateway.answers.backend import Generation, PromptText
from gateway.answers.in_flight import InFlight
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from triton_repo.contract.errors import EngineUnavailable, RequestError
from triton_repo.contract.sampling import Sampling


def in_flight(tally: Tally) -> InFlight:
    """Of one process; at most 3 answers in all."""
    return InFlight(ScriptedBackend(), Admission(30, tally), 3, tally)


def test_every_process_sees_the_sum_of_all_slots(tmp_path: Path) -> None:
    create_slots(tmp_path / "slots", 3)
    tallies = [Tally.shared(tmp_path / "slots", slot) for slot in range(3)]
    for slot, tally in enumerate(tallies):
        tally.set(10**slot)
    assert [tally.total() for tally in tallies] == [111] * 3
    Tally.shared(tmp_path / "slots", 1).clear()  # as the parent does for a worker that died
    assert [tally.total() for tally in tallies] == [101] * 3


def test_a_gateway_of_one_process_needs_no_file() -> None:
    tally, other = Tally(), Tally()
    tally.set(7)
    assert (tally.total(), other.total()) == (7, 0)


def test_a_request_is_refused_where_all_processes_together_have_enough(tmp_path: Path) -> None:
    create_slots(tmp_path / "slots", 2)
    generations = [Generation("id", "demo", PromptText("Hello"), Sampling(), stream=True)]

    async def fill() -> None:
        one, two = (in_flight(Tally.shared(tmp_path / "slots", slot)) for slot in range(2))
        first, _, _ = one.open(generations, 1, CARD), one.open(generations, 1, CARD), two.open(generations, 1, CARD)
        for process in (one, two):
            with pytest.raises(EngineUnavailable, match="the server is busy with 3 requests"):
                process.open(generations, 1, CARD)
        first.close()
        two.open(generations, 1, CARD)

    asyncio.run(fill())


def test_processes_that_open_at_the_same_moment_do_not_pass_the_bound_together(tmp_path: Path) -> None:
    create_slots(tmp_path / "slots", 4)
    generations = [Generation("id", "demo", PromptText("Hello"), Sampling(), stream=True)]
    opened = []

    class Interrupted(Tally):
        """Once this process has learnt the total, the next one opens an answer."""

        def total(self) -> int:
            total = super().total()
            if processes:
                open_in(processes.pop())
            return total

    def open_in(process: InFlight) -> None:
        with contextlib.suppress(EngineUnavailable):
            opened.append(process.open(generations, 1, CARD))

    async def fill() -> None:
        processes.extend(in_flight(Interrupted.shared(tmp_path / "slots", slot)) for slot in range(4))
        open_in(processes.pop())

    processes: list[InFlight] = []
    asyncio.run(fill())
    assert len(opened) <= 3


def test_thousands_of_keys_have_counts_that_all_processes_share(tmp_path: Path) -> None:
    create_slots(tmp_path / "slots", 2)
    one, two = (Quotas(Tally.shared(tmp_path / "slots", slot)) for slot in range(2))
    limits = Limits(requests_per_minute=1)
    for number in range(5000):
        one.of(f"key{number}", limits).take_request()
    with pytest.raises(RateLimitExceeded):
        two.of("key4999", limits).take_request()


def test_with_all_counts_taken_a_process_counts_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "MAX_ROWS", 8)
    create_slots(tmp_path / "slots", 2)
    tally = Tally.shared(tmp_path / "slots", 0)
    rows = [tally.row(f"row {number}") for number in range(20)]
    for number, row in enumerate(rows):
        row.own = number
    assert [tally.row(f"row {number}").total() for number in range(20)] == [*range(20)]
    assert [tally.change_common("another", lambda count: count + 1) for _ in range(3)] == [1, 2, 3]


GENERATIONS = [Generation(f"id-{index}", "demo", PromptText("Hello"), Sampling(), stream=True) for index in range(2)]


def test_a_request_ends_where_no_file_can_be_opened_any_more(tmp_path: Path) -> None:
    create_slots(tmp_path / "slots", 2)

    async def run() -> None:
        tally = Tally.shared(tmp_path / "slots", 0)
        terms = Terms(quota=Quota("alice", Limits(tokens_per_minute=10_000), tally))
        (tmp_path / "slots").unlink()
        in_flight(tally).open(GENERATIONS, 1, CARD, terms).close()
        assert tally.total() == 0
        assert terms.quota.headers()["x-ratelimit-limit-tokens"] == "10000"

    asyncio.run(run())


def test_an_answer_whose_end_fails_is_not_open_any_more_and_runs_no_more() -> None:
    class Deaf(ScriptedBackend):
        def cancel(self, generation: Generation, error: RequestError | None = None) -> None:
            super().cancel(generation, error)
            raise OSError("the connection is gone")

    async def run() -> None:
        tally = Tally()
        admission = Admission(30, tally)
        answer = InFlight(Deaf(), admission, 3, tally).open(GENERATIONS, 1, CARD)
        with pytest.raises(OSError, match="the connection is gone"):
            answer.close()
        assert tally.total() == 0
        assert admission.status()["demo"]["running"] == 0

    asyncio.run(run())


def test_a_request_that_fails_at_the_gate_is_not_counted() -> None:
    class Broken(Admission):
        def enter(self, *_: object) -> NoReturn:
            raise ValueError("a bug")

    tally = Tally()
    with pytest.raises(ValueError, match="a bug"):
        InFlight(ScriptedBackend(), Broken(30, tally), 3, tally).open(GENERATIONS, 1, CARD)
    assert tally.total() == 0
