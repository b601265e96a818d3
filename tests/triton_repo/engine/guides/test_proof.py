"""Guides are read in a process of their own: a hostile one costs that process, and its own request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fake_tensorrt_llm import GUIDE_LIBRARIES
from triton_repo.contract.errors import EngineFailed
from triton_repo.contract.sampling import Guide
from triton_repo.engine.guides.proof import GuideProver


@pytest.fixture
def prover(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[GuideProver]:
    monkeypatch.syspath_prepend(GUIDE_LIBRARIES)
    prover = GuideProver("xgrammar", limit_s=getattr(request, "param", 60))
    yield prover
    prover.close()


def error_of(prover: GuideProver, regex: str) -> str | None:
    return prover.prove(Guide("regex", regex)).error


@pytest.mark.parametrize(
    ("prover", "hostile", "error"),
    [
        (2, "hangs", "parsing it takes longer than 2 s"),
        (60, "crashes", "parsing it ended by SIGSEGV"),
        (60, "glutton", "parsing it takes more than 1024 MiB of memory"),
    ],
    indirect=["prover"],
)
def test_a_hostile_guide_is_rejected_and_the_next_one_is_read(prover: GuideProver, hostile: str, error: str) -> None:
    assert error_of(prover, "a+") is None
    assert error_of(prover, hostile) == error
    assert error_of(prover, "a+") is None
    assert error_of(prover, hostile) == error
    assert error_of(prover, "(a") == "Regex parsing error at position 0: missing ), unterminated subpattern"


def test_a_guide_of_any_length_and_any_characters_reaches_the_library(prover: GuideProver) -> None:
    guide = '\n\u2028"\\\\ä' * 10_000
    assert error_of(prover, guide) is None
    assert error_of(prover, guide + "(") is not None


def test_one_process_reads_all_guides(prover: GuideProver) -> None:
    error_of(prover, "a")
    process = prover._process  # that it is the same one shows nowhere else
    error_of(prover, "b")
    assert prover._process is process


def test_a_library_that_is_not_there_is_no_fault_of_the_request(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineFailed, match="guides: xgrammar could not be started"):
        error_of(GuideProver("xgrammar"), "a")
    assert "No module named 'xgrammar'" in capfd.readouterr().err


def test_a_library_that_fails_on_a_guide_costs_that_guide_alone(prover: GuideProver) -> None:
    error_of(prover, "a")
    process = prover._process
    assert error_of(prover, "fails") == "the library fails on it (AttributeError)"
    assert prover._process is process
