from __future__ import annotations

import ast
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.syntax import parsed
from triton_repo.contract.distribution import DISTRIBUTION, conch_version, install_command

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = [
    file
    for folder in ("bench", "build_scripts", "gateway", "launch", "triton_repo")
    for file in (ROOT / folder).rglob("*.py")
]


def named_extras(file: Path) -> set[str]:
    """The extras that a source file passes to `install_command` as literals."""
    calls = (node for node in ast.walk(parsed(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    calls = (call for call in calls if isinstance(call.func, ast.Name) and call.func.id == install_command.__name__)
    return {str(argument.value) for call in calls for argument in call.args if isinstance(argument, ast.Constant)}


def test_the_installed_distribution_is_the_one_of_pyproject() -> None:
    assert (DISTRIBUTION, conch_version()) == (PROJECT["name"], PROJECT["version"])


def test_every_extra_that_a_message_names_exists() -> None:
    named = set[str]().union(*map(named_extras, SOURCES))
    assert {"plot", "triton", "versus"} <= named <= set(PROJECT["optional-dependencies"])


def test_no_message_names_the_project_that_has_our_command_s_name_on_pypi() -> None:
    assert [file for file in SOURCES if "conch[" in file.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("below", [True, False])
def test_the_command_runs_from_any_directory(below: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT if below else tmp_path)
    command = install_command("plot", "versus")
    assert command.startswith(".venv/bin/") <= below
    python, *arguments = shlex.split(command)
    assert arguments[-1] == ("." if below else str(ROOT)) + "[plot,versus]"
    checked = subprocess.run([python, *arguments[:2], "--version"], capture_output=True, text=True, check=True)
    assert checked.stdout.startswith("pip ")
