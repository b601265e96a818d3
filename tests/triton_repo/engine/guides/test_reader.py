"""Guides are read in a process of their own: a hostile one costs that process, and its own request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fake_tensorrt_llm import PATH
from triton_repo.contract.errors import EngineFailed
from triton_repo.engine.guides.reader import GuideReader


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[GuideReader]:
    monkeypatch.syspath_prepend(PATH)
    reader = GuideReader("xgrammar", limit_s=getattr(request, "param", 60))
    yield reader
    reader.close()


@pytest.mark.parametrize(
    ("reader", "hostile", "complaint"),
    [
        (2, "hangs", "its reading takes longer than 2 s"),
        (60, "crashes", "its reading ended by SIGSEGV"),
        (60, "glutton", "its reading takes more than 1024 MiB of memory"),
    ],
    indirect=["reader"],
)
def test_a_hostile_guide_is_refused_and_the_next_one_is_read(reader: GuideReader, hostile: str, complaint: str) -> None:
    assert reader.complaint("regex", "a+") is None
    assert reader.complaint("regex", hostile) == complaint
    assert reader.complaint("regex", "a+") is None
    assert reader.complaint("regex", hostile) == complaint
    assert reader.complaint("regex", "(a") == "Regex parsing error at position 0: missing ), unterminated subpattern"


def test_a_guide_of_any_length_and_any_characters_reaches_the_library(reader: GuideReader) -> None:
    guide = '\n\u2028"\\\\ä' * 10_000
    assert reader.complaint("regex", guide) is None
    assert reader.complaint("regex", guide + "(") is not None


def test_one_process_reads_all_guides(reader: GuideReader) -> None:
    reader.complaint("regex", "a")
    process = reader._process  # that it is the same one shows nowhere else
    reader.complaint("regex", "b")
    assert reader._process is process


def test_a_library_that_is_not_there_is_no_fault_of_the_request(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineFailed, match="guides: xgrammar could not be started"):
        GuideReader("xgrammar").complaint("regex", "a")
    assert "No module named 'xgrammar'" in capfd.readouterr().err
