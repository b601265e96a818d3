from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.settings import Settings
from launch.kserve import Exposure, ports, private_sockets
from launch.serving.options import ServeOptions
from launch.tritonserver import (
    STUB,
    ServerOptions,
    TritonInstallation,
    check_loads,
    find_tritonserver,
    lay_out_backends,
    server_argv,
    server_environment,
)
from triton_repo.contract.errors import LaunchError

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
BIN = str(Path(sys.executable).parent)
NOWHERE = Path("/nonexistent/tritonserver")
OPTIONS = ServerOptions(
    repositories=(Path("/engines/a/repository"), Path("/engines/b/repository")),
    access=private_sockets(Path("/run/conch-1")),
    metrics_port=8002,
    shm_prefix="conch_0123_",
    gpu=True,
    control="explicit",
)


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def container(tmp_path: Path) -> Path:
    (tmp_path / "opt/tritonserver/backends/python").mkdir(parents=True)
    return program(tmp_path / "opt/tritonserver/bin/tritonserver")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The module `pytriton` as nvidia-pytriton lays it out."""
    root = tmp_path / "site-packages/pytriton/tritonserver"
    program(root / "bin/tritonserver")
    for version in ("3.8", "3.10", VERSION):
        program(root / "python_backend_stubs" / version / STUB)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        program(root / "backends/python" / name)
    return root.parent


def test_the_variable_names_the_server_before_the_container_has_one(container: Path, tmp_path: Path) -> None:
    mine = program(tmp_path / "mine/bin/tritonserver")
    found = find_tritonserver({"CONCH_TRITONSERVER": str(mine), "PATH": "/bin"}, container)
    assert found == TritonInstallation(mine, None, None, {"PATH": f"{BIN}:/bin"})


@pytest.mark.parametrize("kind", ["missing", "directory", "not executable"])
def test_a_variable_that_names_no_program_is_an_error(tmp_path: Path, kind: str) -> None:
    named = tmp_path / kind
    if kind == "directory":
        named.mkdir()
    elif kind == "not executable":
        named.write_text("")
    with pytest.raises(LaunchError, match=f"^CONCH_TRITONSERVER = {named}: this is not an executable file$"):
        find_tritonserver({"CONCH_TRITONSERVER": str(named)})


def test_the_container_has_its_own_backends_and_comes_before_the_package(container: Path, package: Path) -> None:
    found = find_tritonserver({"PATH": "/bin"}, container, package)
    assert found == TritonInstallation(container, container.parent.parent / "backends", None, {"PATH": f"{BIN}:/bin"})


def test_the_package_needs_its_libraries_libpython_and_the_stub_of_this_python(package: Path) -> None:
    found = find_tritonserver({"PATH": "/bin", "LD_LIBRARY_PATH": "/mine"}, NOWHERE, package)
    root = package / "tritonserver"
    libraries = f"{package.parent}/nvidia_pytriton.libs:{sysconfig.get_config_var('LIBDIR')}:/mine"
    assert found == TritonInstallation(
        binary=root / "bin/tritonserver",
        backends=root / "backends",
        stub=root / "python_backend_stubs" / VERSION / STUB,
        environment={"PATH": f"{BIN}:/bin", "LD_LIBRARY_PATH": libraries},
    )


def test_the_variable_may_name_the_server_of_a_package(package: Path) -> None:
    binary = package / "tritonserver/bin/tritonserver"
    found = find_tritonserver({"CONCH_TRITONSERVER": str(binary)}, NOWHERE)
    assert found == find_tritonserver({}, NOWHERE, package)


def test_a_package_without_a_stub_for_this_python_is_an_error(package: Path) -> None:
    (package / "tritonserver/python_backend_stubs" / VERSION / STUB).unlink()
    with pytest.raises(LaunchError, match=r"Python 3\.8, .*3\.10.*, and this is Python 3\."):
        find_tritonserver({}, NOWHERE, package)


def test_no_server_anywhere_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"-m pip install .*\[triton\]'.*CONCH_TRITONSERVER"):
        find_tritonserver({}, NOWHERE, tmp_path)


@pytest.mark.parametrize("mode", [0o755, 0o644])  # some installers leave it not executable
def test_the_backend_directory_has_the_stub_executable_beside_its_library(
    package: Path, tmp_path: Path, mode: int
) -> None:
    found = find_tritonserver({}, NOWHERE, package)
    assert found.stub
    found.stub.chmod(mode)
    backends = lay_out_backends(found, tmp_path / "run")
    assert backends == tmp_path / "run/backends"
    assert sorted(path.name for path in (backends / "python").iterdir()) == [
        "libtriton_python.so",
        STUB,
        "triton_python_backend_utils.py",
    ]
    assert os.access(backends / "python" / STUB, os.X_OK)
    assert (backends / "python" / STUB).is_symlink() == (mode == 0o755)
    assert (
        backends / "python/libtriton_python.so"
    ).resolve() == package / "tritonserver/backends/python/libtriton_python.so"


def test_the_backend_directory_of_the_container_is_used_as_it_is(container: Path, tmp_path: Path) -> None:
    assert lay_out_backends(find_tritonserver({}, container), tmp_path / "run") == container.parent.parent / "backends"
    assert not (tmp_path / "run").exists()


def test_a_missing_shared_library_is_named(tmp_path: Path) -> None:
    loader = (
        '#!/bin/sh\necho "$0: error while loading shared libraries: {}: cannot open shared object file" >&2\nexit 127\n'
    )
    stub = program(tmp_path / STUB, loader.format("libpython3.11.so.1.0"))
    with pytest.raises(
        LaunchError, match=r"^triton_python_backend_stub cannot start: libpython3.11.so.1.0: .*this Python"
    ):
        check_loads(stub, {})
    server = program(tmp_path / "tritonserver", loader.format("libdcgm.so.3"))
    with pytest.raises(LaunchError, match=r"^tritonserver cannot start: libdcgm.so.3: cannot open shared object file$"):
        check_loads(server, {})


def test_a_program_of_another_machine_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"tritonserver cannot be run: Exec format error$"):
        check_loads(program(tmp_path / "tritonserver", "\x7fELF"), {})


def test_the_command_line_keeps_every_listener_private() -> None:
    assert server_argv(Path("/bin/tritonserver"), Path("/run/backends"), OPTIONS) == (
        "/bin/tritonserver",
        "--model-repository=/engines/a/repository",
        "--model-repository=/engines/b/repository",
        "--model-control-mode=explicit",
        "--backend-directory=/run/backends",
        "--disable-auto-complete-config",
        "--exit-on-error=false",
        "--strict-readiness=false",
        "--backend-config=python,shm-region-prefix-name=conch_0123_",
        "--http-address=unix:/run/conch-1/http",
        "--grpc-address=unix:/run/conch-1/grpc",
        "--grpc-port=1",
        "--metrics-address=127.0.0.1",
        "--metrics-port=8002",
        "--exit-timeout-secs=10",
    )


def test_where_triton_has_ports_no_client_controls_models() -> None:
    exposure = Exposure(8000, 8001, exposed=True)
    control = ServeOptions(("a",), Settings(), exposure, 8002).control
    exposed = replace(OPTIONS, access=ports(exposure, "key", Path("/run/key")), control=control)
    assert not [word for word in server_argv(Path("/bin/tritonserver"), None, exposed) if "model-control" in word]


def test_without_a_gpu_the_server_is_not_asked_to_look_for_one() -> None:
    with_gpu = set(server_argv(Path("/t"), None, OPTIONS))
    without = set(server_argv(Path("/t"), None, replace(OPTIONS, gpu=False)))
    assert without - with_gpu == {"--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0"}
    assert not any(flag.startswith("--backend-directory") for flag in with_gpu)


def test_the_server_gets_what_it_needs_and_no_key() -> None:
    installation = TritonInstallation(NOWHERE, None, None, {"PATH": "/venv/bin:/bin", "LD_LIBRARY_PATH": "/libs"})
    keys = dict.fromkeys(("CONCH_API_KEY", "CONCH_ADMIN_KEY", "CONCH_KSERVE_KEY"), "secret")
    environment = server_environment(installation, {"PATH": "/bin", "HOME": "/me", **keys}, OPTIONS.access)
    assert environment == {
        "PATH": "/venv/bin:/bin",
        "LD_LIBRARY_PATH": "/libs",
        "HOME": "/me",
        "PYTHONUNBUFFERED": "1",
    }
