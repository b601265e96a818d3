from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from build_scripts.spec.reading import ENGINES
from launch.doctor.engines import BuiltEngine, check_disk, check_engine, check_leftovers, findings, read_engines
from launch.doctor.shared_memory import check_room
from tests.conftest import Stack

OPENVINO = BuiltEngine("tiny", "openvino", "2026.4.1")


@pytest.fixture
def built(stack: Stack, tmp_path: Path) -> Path:
    """A copy of an engine that the server of the tests has built."""
    shutil.copytree((ENGINES / "built" / "replay").resolve(), tmp_path / "replay")
    return tmp_path


def test_an_engine_that_was_built_here_is_well(built: Path) -> None:
    [engine], broken = read_engines(built)
    assert (engine.name, engine.runtime, engine.steps, broken) == ("replay", "replay", 3, [])
    assert {finding.severity for finding in findings(built, [engine], [])} == {"ok"}


def test_damaged_and_unreadable_engines_are_named(built: Path) -> None:
    shutil.copytree(built / "replay", built / "other")
    (built / "other" / "manifest.json").write_text("{", encoding="utf-8")
    (built / "lost").symlink_to(".store/lost-1")
    os.truncate(next((built / "replay" / "tokenizer").iterdir()), 1)
    engines, broken = read_engines(built)
    assert [engine.name for engine in engines] == ["replay"]
    assert broken[0] == "lost: its directory is gone"
    assert "other: not an engine of this version" in broken[1]
    damaged, *_ = [finding for finding in findings(built, engines, []) if finding.what == "engine replay"]
    assert damaged.found.startswith("1 files are gone or of another size, such as tokenizer/")
    assert damaged.todo == "conch build replay makes it again"


def test_what_a_build_left_is_told(built: Path) -> None:
    partial = built / ".store" / ".partial-my-model-a1b2c3d4"
    partial.mkdir(parents=True)
    (partial / "weights").write_bytes(b"0" * (3 << 20))
    [left] = [finding for finding in findings(built, [], []) if finding.what == "half-built"]
    assert left.found == "a build of my-model runs or was killed: 3 MiB in .partial-my-model-a1b2c3d4"
    assert left.todo == "if none runs, conch build my-model removes it"


def test_a_build_that_goes_on_meanwhile_is_no_error(tmp_path: Path) -> None:
    files, done = tmp_path / ".store" / ".partial-demo-1" / "model", threading.Event()
    files.mkdir(parents=True)

    def build() -> None:
        while not done.is_set():
            (files / "layer").mkdir()
            (files / "layer" / "weights").touch()
            (files / "layer" / "weights").unlink()
            (files / "layer").rmdir()

    building = threading.Thread(target=build)
    building.start()
    try:
        for _ in range(3000):
            assert [finding.severity for finding in check_leftovers(tmp_path)] == ["warning"]
    finally:
        done.set()
        building.join()


@pytest.mark.parametrize(
    ("engine", "openvino", "found", "todo"),
    [
        (OPENVINO, "2026.4.1", "openvino, by OpenVINO 2026.4.1", ""),
        (OPENVINO, "2027.0.0", "openvino, by OpenVINO 2026.4.1; here is 2027.0.0", "conch build tiny makes it again"),
        (OPENVINO, None, "openvino, by OpenVINO 2026.4.1", "OpenVINO is not installed here: "),
        (BuiltEngine("tiny", "replay"), None, "replay", ""),
        (
            BuiltEngine(
                "tiny", "tensorrt_llm", problem="needs TensorRT-LLM, which is not installed here: serve it there"
            ),
            None,
            "tensorrt_llm, needs TensorRT-LLM, which is not installed here",
            "serve it there",
        ),
    ],
)
def test_an_engine_is_held_against_what_is_installed(
    engine: BuiltEngine, openvino: str | None, found: str, todo: str
) -> None:
    finding = check_engine(engine, openvino)
    assert finding.found == found
    assert finding.todo.startswith(todo)
    assert finding.severity == ("warning" if todo else "ok")


def test_where_nothing_is_built_the_command_is_told(tmp_path: Path) -> None:
    engines, broken = read_engines(tmp_path / "none")
    assert (engines, broken) == ([], [])
    assert "conch serve" in next(findings(tmp_path / "none", [], [])).todo


def test_a_full_disk_and_little_shared_memory_are_told() -> None:
    assert check_disk(Path("engines/built"), 1 << 30).severity == "warning"
    assert check_disk(Path("engines/built"), 1 << 40).severity == "ok"
    assert "--shm-size=576m" in check_room(100 << 20, steps=9).todo
    assert check_room(1 << 30, steps=9).severity == "ok"
