"""One bound on open requests, kept by several processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.answers.backend import Generation, PromptText
from gateway.answers.in_flight import InFlight
from gateway.answers.tally import Tally, create_slots
from tests.gateway.scripted_backend import ScriptedBackend
from triton_repo.contract.errors import EngineUnavailable
from triton_repo.contract.sampling import Sampling


def test_every_process_sees_the_sum_of_all_slots(tmp_path: Path) -> None:
    create_slots(tmp_path / "slots", 3)
    tallies = [Tally.shared(tmp_path / "slots", slot) for slot in range(3)]
    for slot, tally in enumerate(tallies):
        tally.set(10**slot)
    assert [tally.total() for tally in tallies] == [111] * 3
    Tally.shared(tmp_path / "slots", 1).set(0)  # as the parent does for a worker that died
    assert [tally.total() for tally in tallies] == [101] * 3


def test_a_gateway_of_one_process_needs_no_file() -> None:
    tally, other = Tally(), Tally()
    tally.set(7)
    assert (tally.total(), other.total()) == (7, 0)


def test_a_request_is_refused_where_all_processes_together_have_enough(tmp_path: Path) -> None:
    create_slots(tmp_path / "slots", 2)
    generations = [Generation("id", "demo", PromptText("Hello"), Sampling(), stream=True)]

    async def fill() -> None:
        backend = ScriptedBackend()
        one, two = (InFlight(backend, 3, Tally.shared(tmp_path / "slots", slot)) for slot in range(2))
        first, _, _ = one.open(generations, 1), one.open(generations, 1), two.open(generations, 1)
        for process in (one, two):
            with pytest.raises(EngineUnavailable, match="the server is busy with 3 requests"):
                process.open(generations, 1)
        first.close()
        two.open(generations, 1)

    asyncio.run(fill())
