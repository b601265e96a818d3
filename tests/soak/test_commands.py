"""The commands of `make soak`, on so little that it takes seconds."""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.target import Target
from tests.soak import engine, fuzz
from tests.soak.client import Answer
from tests.soak.ledger import Sent, disagreements, lines_of, num_left_out, triton_faults
from tests.soak.memory import Growth


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """The commands switch it off."""
    yield
    logging.disable(logging.NOTSET)


def test_the_engine_takes_as_many_steps_as_it_is_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert engine.main(["--steps", "600", "--seed", "7"]) == 0
    assert capsys.readouterr().out.startswith("600 steps in ")


def test_a_reader_is_reported_with_its_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["stop", "--examples", "50", "--found", str(tmp_path)]) == 0
    [_, row] = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in row.split("|")][1:3] == ["stop", "50"]
    assert row.endswith("| ok")

    assert not [*tmp_path.iterdir()]


def test_an_input_that_fails_is_kept_and_found_again_by_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def planted(data: bytes) -> None:
        if b"\xff" in data:
            raise ZeroDivisionError

    target = Target("planted", planted, [b"sound"])
    options = {"seed": 1, "examples": 1000, "minutes": 1, "found": tmp_path, "atheris": None}
    assert fuzz.run(target, argparse.Namespace(**options, first=0)) == 1
    [kept] = tmp_path.iterdir()
    assert f"{kept}: ZeroDivisionError" in capsys.readouterr().out
    data = kept.read_bytes()
    assert b"\xff" in data
    kept.unlink()
    number = int(kept.name.removeprefix("planted-1-"))
    assert fuzz.run(target, argparse.Namespace(**options, first=number)) == 1
    assert kept.read_bytes() == data


def test_a_reader_has_no_more_time_than_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(seed=1, examples=10**9, first=0, minutes=0.0001, found=tmp_path, atheris=None)
    assert fuzz.run(Target("quick", lambda _: None, [b"sound"]), options) == 0
    assert 0 < json.loads(capsys.readouterr().out)["inputs"] < 10**9


def test_a_process_that_grows_is_told_from_one_whose_caches_fill() -> None:
    fills = Growth([100.0 + min(number, 50) for number in range(180)])
    leaks = Growth([100.0 + number / 5 for number in range(180)])
    assert fills.beyond(num_warm_up=60) == 0
    assert leaks.beyond(num_warm_up=60) == pytest.approx(16)
    assert Growth([100.0]).beyond(num_warm_up=60) is None


def test_a_request_that_client_and_gateway_tell_otherwise_is_found() -> None:
    log = [f"gateway │ 2026 INFO gateway.access POST /v1/chat/completions {rest}\n" for rest in _LOG]
    sent = {
        "whole": Sent(200, "complete", 5.0),
        "lost": Sent(200, "complete", 5.0),
        "rejected": Sent(503, "rejected", 5.0),
        "untold": Sent(503, "rejected", 5.0),
        "unknown": Sent(400, "rejected", 5.0),
        "twice": Sent(200, "complete", 5.0),
        "short": Sent(200, "complete", 5.0),
        "left": Sent(200, "left", 5.0),
        "killed": Sent(200, "complete", 49.0),
        "cut": Sent(200, "cut", 51.0),
        "unheard": Sent(0, "left", 5.0),
    }
    found = sorted(disagreements(sent, lines_of(log), [(50.0, 55.0)]))
    untold = "1 were rejected without a line, and 0 in the gateway's log"
    assert [line.partition(":")[0] for line in found] == [
        *(untold, "lost", "rejected", "short", "stranger", "twice", "unknown")
    ]
    log.append("gateway │ 2026 INFO gateway.access 1 more requests were rejected with 429 or 503\n")
    assert untold not in disagreements(sent, lines_of(log), [(50.0, 55.0)], num_left_out(log))


def test_what_triton_cannot_have_counted_is_found() -> None:
    few = Counter(success=3)
    assert not [*triton_faults(few, few, 60)]
    assert not [*triton_faults(Counter(success=61), Counter(success=61), 60)]
    planted = [
        (Counter(success=1), Counter(success=1)),
        (Counter(success=65), Counter(success=65)),
        (Counter(success=3, CANCELED=1), Counter(success=4)),
        (Counter(success=3), Counter(success=4)),
    ]
    assert all([*triton_faults(*counts, 60)] for counts in planted)


_LOG = (
    "200 0.003 s id=1 client_id=whole key=api-key",
    "200 0.003 s id=2 client_id=rejected key=api-key",
    "200 0.003 s id=3 client_id=twice",
    "200 0.003 s id=4 client_id=twice",
    "200 incomplete 0.003 s id=5 client_id=short",
    "200 incomplete 0.003 s id=6 client_id=left",
    "200 0.003 s id=7 client_id=stranger",
)


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
