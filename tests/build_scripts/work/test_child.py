from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from build_scripts.work.child import Child
from triton_repo.contract.errors import BuildError

pytestmark = pytest.mark.usefixtures("cold_steps")

DEADLINE_S = 240
PARENT = """
import sys, time
from pathlib import Path
from build_scripts.work.child import Child
Child("nap", Path(sys.argv[1])).call(time.sleep, 3600)
"""


def test_a_child_runs_the_function_and_its_output_goes_to_the_log(tmp_path: Path) -> None:
    child = Child("step", tmp_path / "log")
    child.call(os.mkdir, str(tmp_path / "made"))
    child.call(os.system, "echo noise")  # type: ignore[arg-type]  # its result does not come back
    assert (tmp_path / "made").is_dir()
    assert (tmp_path / "log").read_text() == "noise\n"


def test_what_a_child_raises_comes_back_as_one_sentence_and_its_traceback_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(BuildError) as failed:
        Child("step", log).call(os.mkdir, str(tmp_path))
    assert str(failed.value) == f"step: [Errno 17] File exists: '{tmp_path}' (log: {log})"
    assert "Traceback" in log.read_text()


def test_half_a_character_in_an_error_is_spelled_out(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"^step: no module \\ud800 \(log: "):
        Child("step", tmp_path / "log").call(fail, "no module \ud800")


def fail(message: str) -> None:
    raise ValueError(message)


def test_a_child_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"^step: took longer than 1 s"):
        Child("step", tmp_path / "log", timeout_s=1).call(time.sleep, 3600)


def test_a_child_that_dies_is_told_by_its_signal_or_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"^step: its process was ended by SIGABRT \(log"):
        Child("step", tmp_path / "log").call(os.abort)
    with pytest.raises(BuildError, match=r"^step: its process ended with exit code 7 \(log"):
        Child("step", tmp_path / "log").call(os._exit, 7)


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "log")]) as parent:
        deadline = time.monotonic() + DEADLINE_S
        while not (children := psutil.Process(parent.pid).children()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        parent.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=DEADLINE_S)[1] == []
