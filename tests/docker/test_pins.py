"""The ranges of pyproject.toml hold what both GPU images have, and adding Conch to an image moves nothing of it."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.docker.dockerfile import DOCKER
from tests.docker.pins import OF_OPENVINO, OF_TRITON, ROOT, SETS, TESTS, TOOLS, TRITON, pinned, pins

SCRIPT = DOCKER / "add_conch.sh"
# The ends of what TensorRT-LLM 1.2.1, and 1.3.0rc26 to 1.4.0rc1, ask for.
ENDS = {
    "fastapi": ("0.120.1", "0.121.3", "0.136.3", "0.139.2"),
    "grpcio": ("1.67.1",),
    "numpy": ("1.26.4", "2.0.0", "2.3.5"),
    "protobuf": ("6.30.2", "6.33.5"),
    "pydantic": ("2.12.5",),
    "starlette": ("0.49.1", "1.3.1"),
    "tokenizers": ("0.22.0",),
}
# A Python that answers as pip would: with what is installed, before and after.
PYTHON = """#!/usr/bin/env bash
echo "$*" >> "$LOG"
case "$*" in
  *list*) grep -q install "$LOG" && cat "$AFTER" || printf 'numpy==2.1.0\\ntorch==2.14.0a0+nv26.8\\n' ;;
esac
"""


def ranges() -> dict[str, SpecifierSet]:
    """What Conch asks for in a GPU image, by package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted: dict[str, SpecifierSet] = {}
    for requirement in map(Requirement, (*project["dependencies"], *extras["api"], *extras["models"])):
        name = canonicalize_name(requirement.name)
        wanted[name] = wanted.get(name, SpecifierSet()) & requirement.specifier
    return wanted


def test_there_is_a_set_for_each_gpu_image() -> None:
    assert [file.stem for file in SETS] == ["compiled", "current"]
    assert all((DOCKER / f"{file.stem}.Dockerfile").is_file() for file in SETS)


@pytest.mark.parametrize("file", [*SETS, ROOT / "constraints.txt"], ids=lambda path: path.stem)
def test_the_ranges_hold_what_the_image_has(file: Path) -> None:
    wanted, had = ranges(), pins(file)
    shared = wanted.keys() & had.keys()
    assert {"fastapi", "numpy", "protobuf", "pydantic", "starlette", "tokenizers", "uvicorn"} <= shared
    assert {name: had[name] for name in shared if had[name] not in wanted[name]} == {}


def test_the_ranges_hold_the_ends_of_what_tensorrt_llm_asks_for() -> None:
    wanted = ranges()
    assert [(name, v) for name, versions in ENDS.items() for v in versions if v not in wanted[name]] == []


def test_the_sets_are_of_the_two_generations() -> None:
    compiled, current = map(pins, SETS)
    assert (compiled["transformers"], current["transformers"]) == ("4.57.3", "5.5.4")
    assert compiled["numpy"] in SpecifierSet("<2")
    assert current["numpy"] in SpecifierSet(">=2,<2.4")
    assert compiled["fastapi"] in SpecifierSet("<=0.121.3")
    assert current["fastapi"] in SpecifierSet(">=0.136.3")


def test_what_is_left_out_is_there_and_the_tools_are_pinned() -> None:
    runtimes = ROOT / "tests" / "triton_repo" / "engine" / "runtimes"
    assert all(list(runtimes.glob(name)) for name in OF_OPENVINO)
    for test in OF_TRITON:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")
    assert all((ROOT / folder).is_dir() for folder in TESTS)
    assert len(pinned((*TOOLS, TRITON))) == len(TOOLS) + 1


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        ("numpy==2.1.0\ntorch==2.14.0a0+nv26.8\norjson==3.13.0\n", ""),
        ("numpy==2.2.0\ntorch==2.14.0a0+nv26.8\norjson==3.13.0\n", "numpy==2.1.0"),
        ("numpy==2.1.0\norjson==3.13.0\n", "torch==2.14.0a0+nv26.8"),
    ],
    ids=["added", "moved", "removed"],
)
def test_adding_conch_fails_where_a_package_of_the_image_has_moved(tmp_path: Path, after: str, complaint: str) -> None:
    (tmp_path / "python3").write_text(PYTHON)
    (tmp_path / "python3").chmod(0o700)
    (tmp_path / "after").write_text(after)
    paths = {"LOG": tmp_path / "log", "AFTER": tmp_path / "after"}
    environment = {**os.environ, **{name: str(path) for name, path in paths.items()}, "PIP_CONSTRAINT": "/no/such/file"}
    environment["PATH"] = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    constraints = tmp_path / "constraints.txt"
    done = subprocess.run(
        [SCRIPT, constraints], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == bool(complaint)
    assert done.stderr.strip().endswith(complaint)
    assert constraints.read_text() == "numpy==2.1.0\ntorch==2.14.0a0+nv26.8\n"
    installs = [line for line in (tmp_path / "log").read_text().splitlines() if "install" in line]
    assert [f"--constraint {constraints}" in line or "--no-deps" in line for line in installs] == [True, True]
