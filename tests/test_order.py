"""That the order in which the files of tests are started names files that there are."""

from __future__ import annotations

from tests.conftest import LONGEST


def test_files_that_are_started_first_exist() -> None:
    assert [file for file in LONGEST if not file.is_file()] == []
