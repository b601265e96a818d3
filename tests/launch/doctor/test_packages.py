from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from launch.doctor.packages import ROLES, Role, check_libpython, check_python, check_role
from triton_repo.contract.distribution import install_command


def test_missing_packages_name_the_extra_that_brings_them() -> None:
    finding = check_role(Role("gateway", "the API", ("json", "no_such_module"), needed=True))
    assert (finding.found, finding.todo) == ("no_such_module missing", install_command("gateway"))
    assert finding.severity == "error"
    assert check_role(Role("bench", "the load", ("no_such_module",), needed=False)).severity == "warning"
    assert check_role(Role("gateway", "the API", ("json",), needed=True)).severity == "ok"


def installed_with(extra: str) -> set[str]:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: set[str] = set()
    for line in project["optional-dependencies"][extra]:
        more = re.fullmatch(r"conch-serving\[([\w,]+)\]", line)
        found |= set().union(*map(installed_with, more[1].split(","))) if more else {re.split(r"[\[<>=]", line)[0]}
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.extra)
def test_a_role_looks_for_exactly_what_its_extra_installs(role: Role) -> None:
    wanted = installed_with(role.extra)
    installed_by = {
        module: [name.lower().replace("_", "-") for name in names] for module, names in packages_distributions().items()
    }
    assert {name for name in wanted if not any(name in installed_by[module] for module in role.modules)} == set()
    assert {module for module in role.modules if not wanted & set(installed_by[module])} == set()


def test_an_old_python_is_rejected() -> None:
    assert check_python((3, 10)).todo == "Conch needs Python 3.11 or newer"
    assert check_python((3, 11)).severity == "ok"


def test_the_library_of_this_python_is_found() -> None:
    assert check_libpython().found.startswith("libpython3.")
