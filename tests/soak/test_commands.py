"""The commands of `make soak`, on so little that it takes seconds."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.target import Target
from tests.soak import engine, fuzz
from tests.soak.client import Answer
from tests.soak.memory import Growth


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """The commands switch it off."""
    yield
    logging.disable(logging.NOTSET)


def test_the_engine_takes_as_many_steps_as_it_is_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert engine.main(["--steps", "600", "--seed", "7"]) == 0
    assert capsys.readouterr().out.startswith("600 steps in ")


def test_a_reader_is_reported_with_its_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["stop", "--examples", "50"]) == 0
    [_, row] = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in row.split("|")][1:3] == ["stop", "50"]
    assert row.endswith("| ok")


def test_an_input_that_fails_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def planted(data: bytes) -> None:
        if b"\xff" in data:
            raise ZeroDivisionError

    options = argparse.Namespace(seed=1, examples=1000, found=tmp_path, atheris=None)
    assert fuzz.run(Target("planted", planted, [b"sound"]), options) == 1
    assert f"{tmp_path}/planted-1: ZeroDivisionError" in capsys.readouterr().out
    assert b"\xff" in (tmp_path / "planted-1").read_bytes()


def test_a_process_that_grows_is_told_from_one_whose_caches_fill() -> None:
    fills = Growth([100.0 + min(number, 50) for number in range(180)])
    leaks = Growth([100.0 + number / 5 for number in range(180)])
    assert fills.beyond(num_warm_up=60) == 0
    assert leaks.beyond(num_warm_up=60) == pytest.approx(16)
    assert Growth([100.0]).beyond(num_warm_up=60) is None


@pytest.mark.parametrize(
    ("events", "ending"),
    [
        (["{}", "[DONE]"], "complete"),
        (['{"error": {}}'], "error"),
        (["{}"], "cut"),
        (["[DONE]", "{}"], "broken"),
        (["[DONE]", "[DONE]"], "broken"),
        (['{"error": {}}', "[DONE]"], "broken"),
        ([], "cut"),
    ],
)
def test_an_answer_ends_in_one_way(events: list[str], ending: str) -> None:
    assert Answer(200, events).ending == ending
    assert Answer(503, []).ending == "rejected"
