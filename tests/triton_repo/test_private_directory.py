"""What a run keeps for itself goes with it, and what a killed one left goes with the next."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from triton_repo.private_directory import private_directory

_RUN = """
import sys, time
from pathlib import Path
from triton_repo.private_directory import private_directory
with private_directory("run-", Path(sys.argv[1])) as directory:
    (directory / "store").touch()
    print(flush=True)
    time.sleep(600)
"""


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_of_one_that_runs(tmp_path: Path) -> None:
    others = [tmp_path / "other-1", tmp_path / "run-unlocked"]
    for other in others:
        other.mkdir()
    argv = [sys.executable, "-c", _RUN, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as run:
        assert run.stdout
        run.stdout.readline()
        with private_directory("run-", tmp_path) as mine:
            [theirs] = {*tmp_path.iterdir()} - {mine, *others}
            assert (theirs / "store").exists()
        run.kill()
    assert (theirs / "store").exists()
    with private_directory("run-", tmp_path) as mine:
        assert {*tmp_path.iterdir()} == {mine, *others}
    assert {*tmp_path.iterdir()} == {*others}


def test_what_cleans_up_old_files_can_see_that_it_is_in_use(tmp_path: Path) -> None:
    with private_directory("run-", tmp_path) as mine:
        opened = os.open(mine, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(opened)
