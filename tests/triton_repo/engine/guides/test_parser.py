"""Guides are read in a process of their own: a hostile one costs that process, and its own request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fake_tensorrt_llm import GUIDE_LIBRARIES
from triton_repo.contract.errors import EngineFailed
from triton_repo.engine.guides.parser import GuideParser


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[GuideParser]:
    monkeypatch.syspath_prepend(GUIDE_LIBRARIES)
    parser = GuideParser("xgrammar", limit_s=getattr(request, "param", 60))
    yield parser
    parser.close()


@pytest.mark.parametrize(
    ("parser", "hostile", "error"),
    [
        (2, "hangs", "parsing it takes longer than 2 s"),
        (60, "crashes", "parsing it ended by SIGSEGV"),
        (60, "glutton", "parsing it takes more than 1024 MiB of memory"),
    ],
    indirect=["parser"],
)
def test_a_hostile_guide_is_rejected_and_the_next_one_is_read(parser: GuideParser, hostile: str, error: str) -> None:
    assert parser.error_of("regex", "a+") is None
    assert parser.error_of("regex", hostile) == error
    assert parser.error_of("regex", "a+") is None
    assert parser.error_of("regex", hostile) == error
    assert parser.error_of("regex", "(a") == "Regex parsing error at position 0: missing ), unterminated subpattern"


def test_a_guide_of_any_length_and_any_characters_reaches_the_library(parser: GuideParser) -> None:
    guide = '\n\u2028"\\\\ä' * 10_000
    assert parser.error_of("regex", guide) is None
    assert parser.error_of("regex", guide + "(") is not None


def test_one_process_reads_all_guides(parser: GuideParser) -> None:
    parser.error_of("regex", "a")
    process = parser._process  # that it is the same one shows nowhere else
    parser.error_of("regex", "b")
    assert parser._process is process


def test_a_library_that_is_not_there_is_no_fault_of_the_request(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineFailed, match="guides: xgrammar could not be started"):
        GuideParser("xgrammar").error_of("regex", "a")
    assert "No module named 'xgrammar'" in capfd.readouterr().err
