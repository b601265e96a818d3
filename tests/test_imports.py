"""Imports form a DAG, and what is heavy stays where it runs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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
    roots: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            roots.add((node.module or "").split(".")[0])
    return roots


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_a_folder_imports_only_what_lies_below_it(folder: str) -> None:
    for file in (ROOT / folder).rglob("*.py"):
        if "built" not in file.parts:
            strangers = (imported_roots(file) & set(MAY_IMPORT)) - MAY_IMPORT[folder] - {folder}
            assert not strangers, f"{file.relative_to(ROOT)} imports {strangers}"


def test_modules_inside_a_folder_import_each_other_without_a_cycle() -> None:
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): file
        for folder in MAY_IMPORT
        for file in (ROOT / folder).rglob("*.py")
        if "built" not in file.parts and "1" not in file.parts
    }
    edges = {name: imported_modules(file) & set(modules) for name, file in modules.items()}
    while leaves := {name for name, targets in edges.items() if not targets}:
        edges = {name: targets - leaves for name, targets in edges.items() if name not in leaves}
    assert not edges, f"import cycle among {sorted(edges)}"


def imported_modules(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


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
        "triton_repo/engine/triton_metrics.py",
    }
