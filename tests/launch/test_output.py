from __future__ import annotations

import os
import subprocess
import sys

import pytest

SPEAKS = """
import sys
from rich.console import Console
from launch.journal import Journal
from launch.serving.output import announce, lossy_stderr

with lossy_stderr():
    for _ in range(2):
        Console(stderr=True).print("built")
        Journal(Console(stderr=True))("triton", "up")
        print("said", file=sys.stderr)
        announce("ready")
"""
SAID = 2 * "built\n triton │ up\nsaid\n"


def speak(redirections: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'"$@" {redirections}', "sh", sys.executable, "-c", SPEAKS]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("redirections", [">/dev/full 2>&1", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_program_goes_on_where_it_cannot_write(redirections: str) -> None:
    assert speak(redirections).returncode == 0


def test_a_program_goes_on_where_nothing_reads_what_it_writes() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert subprocess.run([sys.executable, "-c", SPEAKS], stdout=writer, stderr=writer, check=False).returncode == 0
    finally:
        os.close(writer)


def test_what_can_be_written_is() -> None:
    spoke = speak("")
    assert (spoke.returncode, spoke.stdout, spoke.stderr) == (0, "readyready", SAID)


def test_one_that_cannot_be_written_to_hides_nothing_from_the_other() -> None:
    assert speak(">&-").stderr == SAID
    assert speak("2>/dev/full").stdout == "readyready"
