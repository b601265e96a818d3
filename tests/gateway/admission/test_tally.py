"""One bound on open requests, kept by several processes."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from gateway.admission.admission import Admission
from gateway.admission.tally import Tally, create_slots
from gateway.answers.backend import Generation, PromptText
from gateway.answers.in_flight import InFlight
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from triton_repo.contract.errors import EngineUnavailable
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
