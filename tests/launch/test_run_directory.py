from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.settings import Settings
from launch.descendants import marked_processes
from launch.kserve import Exposure
from launch.serving import serve
from launch.serving.options import ServeOptions
from launch.serving.run_directory import run_directory
from launch.shared_memory import SHM
from triton_repo.contract.errors import LaunchError

# With a process like a stub that waits for a lock of a Triton that is no more.
HOLDS_ONE = """
import os, subprocess, sys, uuid
from launch.descendants import MARK
from launch.serving.run_directory import run_directory
from launch.shared_memory import SHM
with run_directory() as d:
    mark = uuid.uuid4().hex
    region = SHM / (d.note_mark(mark) + "region")
    region.touch()
    stub = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: mark}, stdout=subprocess.DEVNULL)
    print(d.path, region, mark, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_a_run_leaves_no_directory(parent: Path) -> None:
    with run_directory() as directory:
        assert list(parent.iterdir()) == [directory.path]
    assert list(parent.iterdir()) == []


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(parent: Path) -> None:
    (parent / "conch-of-something-else").mkdir()
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDS_ONE], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout
        path, name, mark = other.stdout.readline().split()
        left, region = Path(path), Path(name)
        with run_directory():
            assert left.is_dir()  # it still runs
            assert region.exists()
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert left.is_dir()
        assert len(marked_processes(mark)) == 1
        with run_directory():
            assert not left.exists()
            assert not region.exists()
            assert not marked_processes(mark)
    assert [path.name for path in parent.iterdir()] == ["conch-of-something-else"]


def test_a_server_looks_for_room_in_shared_memory_once_that_of_killed_runs_is_free(
    parent: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = uuid.uuid4().hex
    left, region = parent / "conch-left", SHM / f"conch_{mark}_region"
    left.mkdir()
    (left / "in-use").touch()
    (left / "mark").write_text(mark, encoding="utf-8")
    region.touch()

    def look(_: int) -> None:
        raise LaunchError(f"left: {left.exists()}, region: {region.exists()}")

    monkeypatch.setattr(serve, "check_shared_memory", look)
    monkeypatch.setattr(serve, "find_tritonserver", lambda _: None)
    ports = Exposure(free_port(), free_port())
    try:
        with pytest.raises(LaunchError, match="left: False, region: False"):
            serve.serve(ServeOptions(("demo",), Settings(port=free_port()), ports, free_port()))
    finally:
        region.unlink(missing_ok=True)


def test_runs_that_start_at_once_leave_each_other_alone() -> None:
    def start(_: int) -> bool:
        with run_directory() as directory:
            return directory.heartbeats.is_dir()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(start, range(400)))


def test_a_path_with_a_blank_is_rejected(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = parent / "a b"
    blank.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(blank))
    with pytest.raises(LaunchError, match="a path with blanks"), run_directory():
        pass


def test_another_repository_has_a_path_without_blanks_here(parent: Path) -> None:
    """Triton's stubs get the path of their model unquoted, and end at a blank."""
    plain, blank = parent / "plain", parent / "two words"
    (blank / "a/1").mkdir(parents=True)
    with run_directory() as directory:
        paths = directory.without_blanks({"a": blank, "b": plain, "c": blank})
        assert paths["b"] == plain
        assert paths["a"] == paths["c"] != blank
        assert len(str(paths["a"]).split()) == 1
        assert (paths["a"] / "a/1").is_dir()
    assert (blank / "a/1").is_dir()


def test_a_mark_that_no_run_of_ours_would_note_removes_nothing(parent: Path) -> None:
    region = SHM / f"of-another-{uuid.uuid4().hex}"
    region.touch()
    try:
        for mark in (region.name, "", "conch_", "../tmp"):
            left = parent / "conch-left"
            left.mkdir()
            (left / "in-use").touch()
            (left / "mark").write_text(mark, encoding="utf-8")
            with run_directory():
                assert not left.exists()
            assert region.exists()
    finally:
        region.unlink()
