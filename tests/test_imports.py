"""Imports form a DAG, and what is heavy stays where it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.layout import ROOT, imported_modules, layout, packages

MAX_ROOMS = 18
# Who may import whom: each folder only from those to its right.
MAY_IMPORT = {
    "triton_repo": set[str](),
    "gateway": {"triton_repo"},
    "build_scripts": {"triton_repo"},
    "bench": {"build_scripts", "triton_repo"},
    "launch": {"bench", "build_scripts", "gateway", "triton_repo"},
    "engines": set[str](),
}
HEAVY = {"torch", "openvino", "openvino_genai", "tensorrt_llm", "transformers", "optimum", "nncf"}


def imported_roots(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_modules(file)}


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_a_folder_imports_only_what_lies_below_it(folder: str) -> None:
    for file in (ROOT / folder).rglob("*.py"):
        if "built" not in file.parts:
            strangers = (imported_roots(file) & set(MAY_IMPORT)) - MAY_IMPORT[folder] - {folder}
            assert not strangers, f"{file.relative_to(ROOT)} imports {strangers}"


@pytest.mark.parametrize("folder", packages(), ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_rooms_of_a_folder_import_each_other_one_way_only(folder: Path) -> None:
    """Modules, and subfolders as seen from outside: so two folders never import each other both ways."""
    assert layout(folder).upward == frozenset()


@pytest.mark.parametrize("folder", packages(), ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_folder_holds_a_handful_of_rooms(folder: Path) -> None:
    assert len(layout(folder).arrows) <= MAX_ROOMS


def test_two_modules_that_import_each_other_are_seen(tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    (folder / "http").mkdir(parents=True)
    (folder / "http" / "body.py").write_text("from gateway.answers import request\n", encoding="utf-8")
    (folder / "answers.py").write_text("import gateway.http.body\n", encoding="utf-8")
    assert layout(folder).upward == {("http", "answers"), ("answers", "http")}


@pytest.mark.parametrize("module", ["gateway.app", "launch.cli", "triton_repo.contract.tensors"])
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print(*({HEAVY!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert loaded.split() == []


def test_the_gateway_names_nothing_heavy() -> None:
    for file in (ROOT / "gateway").rglob("*.py"):
        assert not imported_roots(file) & HEAVY, file


def test_only_the_adapters_import_tritons_python_backend() -> None:
    adapters = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "triton_repo").rglob("*.py")
        if "triton_python_backend_utils" in imported_roots(file)
    }
    assert adapters == {
        "triton_repo/preprocess/1/model.py",
        "triton_repo/engine/1/model.py",
        "triton_repo/detokenize/1/model.py",
        "triton_repo/embed/1/model.py",
        "triton_repo/engine/triton_metrics.py",
    }
