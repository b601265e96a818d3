from __future__ import annotations

import re
import socket
import tomllib
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from launch.doctor import ROLES, Role, check_engines, check_gpu, check_libpython, check_python, check_role, doctor
from launch.health.stubs import stub_model
from triton_repo.contract.distribution import install_command


def ports(free_port: Callable[[], int]) -> dict[str, int]:
    return {"--port": free_port(), "--triton-http-port": free_port()}


def test_a_machine_that_can_serve_passes(free_port: Callable[[], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(ports(free_port))
    table = capsys.readouterr().out
    assert "MISSING" not in table
    for what in ("python", "packages: gateway", "tritonserver", "libpython", "shared memory", "port", "GPU", "engines"):
        assert what in table


def test_a_busy_port_fails_and_names_the_cure(free_port: Callable[[], int], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        busy = server.getsockname()[1]
        assert not doctor({**ports(free_port), "--triton-grpc-port": busy})
    assert f"port {busy} (--triton-grpc-port) on 127.0.0.1 is already in use" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_missing_server_fails_with_the_way_to_get_one(
    free_port: Callable[[], int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCH_TRITONSERVER", "/no/such")
    assert not doctor(ports(free_port))
    assert "CONCH_TRITONSERVER = /no/such" in capsys.readouterr().out


def test_missing_packages_name_the_extra_that_brings_them() -> None:
    finding = check_role(Role("gateway", "the API", ("json", "no_such_module"), needed=True))
    assert (finding.found, finding.cure) == ("no_such_module missing", install_command("gateway"))
    assert not check_role(Role("gateway", "the API", ("json",), needed=True)).cure


def installed_with(extra: str) -> set[str]:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
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
    assert check_python((3, 10)).cure == "Conch needs Python 3.11 or newer"
    assert not check_python((3, 11)).cure


def test_what_serving_can_do_without_is_no_failure() -> None:
    assert not check_engines([]).needed
    assert check_engines(["demo", "replay"]).found == "demo, replay"
    assert not check_gpu().needed or not check_gpu().cure
    assert check_libpython().found.startswith("libpython3.")


@pytest.mark.parametrize(
    ("command", "model"),
    [
        (("/run/backends/python/triton_python_backend_stub", "/engines/a_engine/1/model.py", "conch_1"), "a_engine"),
        (("/opt/tritonserver/bin/tritonserver", "/engines/a_engine/1/model.py"), None),
        (("triton_python_backend_stub",), None),
        ((), None),
    ],
)
def test_a_stub_is_known_by_its_command_line(command: tuple[str, ...], model: str | None) -> None:
    assert stub_model(command) == model
