"""Where tritonserver is, what it needs to run here, and how Conch calls it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launch.kserve import TritonAccess
from launch.ports import LOOPBACK
from triton_repo.contract.api_key import KEY_VARIABLES
from triton_repo.contract.distribution import install_command
from triton_repo.contract.errors import LaunchError
from triton_repo.tracing.otlp import traces_url

BINARY_VARIABLE = "CONCH_TRITONSERVER"
CONTAINER_BINARY = Path("/opt/tritonserver/bin/tritonserver")
LOADER_FAILED = 127
STUB = "triton_python_backend_stub"
NEVER = 2**31 - 1  # of so many requests that bring none, one is traced
POLL_S = 15  # between two looks at the repositories, which Triton itself has as its default

ControlMode = Literal["none", "explicit", "poll"]


@dataclass(frozen=True, slots=True)
class TritonInstallation:
    """A tritonserver and what it needs.

    `backends` is its directory of backends; None where it knows that itself. `stub` is the process that runs
    Python models under this interpreter, to be placed next to the Python backend; None where it already is.
    `environment` holds the variables that the server and its stubs need on top of the caller's.
    """

    binary: Path
    backends: Path | None
    stub: Path | None
    environment: Mapping[str, str]


def find_tritonserver(
    environ: Mapping[str, str], container_binary: Path = CONTAINER_BINARY, package: Path | None = None
) -> TritonInstallation:
    """The server that CONCH_TRITONSERVER names, else that of NVIDIA's container, else that of nvidia-pytriton.

    `package` is the directory of the module `pytriton`; by default that of this interpreter, if it is installed.
    """
    if named := environ.get(BINARY_VARIABLE):
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise LaunchError(f"{BINARY_VARIABLE} = {named}: this is not an executable file")
        return installation_of(Path(named), environ)
    if container_binary.is_file():
        return installation_of(container_binary, environ)
    package = package or _pytriton()
    if package and (binary := package / "tritonserver/bin/tritonserver").is_file():
        return installation_of(binary, environ)
    raise LaunchError(
        f"no tritonserver found: run {install_command('triton')}, work in NVIDIA's Triton container,"
        f" or set {BINARY_VARIABLE} to the path of one"
    )


def _pytriton() -> Path | None:
    spec = importlib.util.find_spec("pytriton")  # found, not imported: importing it takes a second
    return Path(spec.origin).parent if spec and spec.origin else None


def installation_of(binary: Path, environ: Mapping[str, str]) -> TritonInstallation:
    """The installation around `binary`: nvidia-pytriton's layout if stubs lie near it, else that of the container."""
    root = binary.absolute().parent.parent
    backends = root / "backends" if (root / "backends").is_dir() else None
    stubs = root / "python_backend_stubs"
    # A stub starts whichever `python3` is first on the PATH: it must be the one that Conch runs in.
    path = _search_path(str(Path(sys.executable).parent), environ.get("PATH"))
    if not stubs.is_dir():
        return TritonInstallation(binary, backends, None, {"PATH": path})
    libraries = _search_path(
        str(root.parent.parent / "nvidia_pytriton.libs"),
        str(sysconfig.get_config_var("LIBDIR")),  # of libpython, which a stub is linked with
        environ.get("LD_LIBRARY_PATH"),
    )
    return TritonInstallation(binary, backends, _stub(stubs), {"PATH": path, "LD_LIBRARY_PATH": libraries})


def _search_path(*entries: str | None) -> str:
    return os.pathsep.join(entry for entry in entries if entry)


def _stub(stubs: Path) -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = stubs / version / STUB
    if not stub.is_file():
        known = ", ".join(sorted((path.name for path in stubs.iterdir()), key=lambda name: int(name.split(".")[1])))
        raise LaunchError(f"this tritonserver runs Python models under Python {known}, and this is Python {version}")
    return stub


def lay_out_backends(installation: TritonInstallation, directory: Path) -> Path | None:
    """The directory to give to `--backend-directory`; made in `directory` where a stub must be next to a backend.

    Links, because `directory` may be mounted noexec; a copy of the stub only where an installer left it not executable.
    """
    if installation.stub is None or installation.backends is None:
        return installation.backends
    python = directory / "backends" / "python"
    python.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        (python / name).symlink_to(installation.backends / "python" / name)
    if os.access(installation.stub, os.X_OK):
        (python / STUB).symlink_to(installation.stub)
    else:
        shutil.copyfile(installation.stub, python / STUB)
        (python / STUB).chmod(0o700)
    check_loads(python / STUB, installation.environment)
    return python.parent


def check_loads(program: Path, environment: Mapping[str, str]) -> None:
    """LaunchError if `program` cannot be run, with the name of the shared library that it lacks, if it is that."""
    argv = [str(program), "--help"]  # which a stub answers by saying what it expects
    try:
        tried = subprocess.run(
            argv, env={**os.environ, **environment}, capture_output=True, encoding="utf-8", timeout=60, check=False
        )
    except OSError as error:
        raise LaunchError(f"{program} cannot be run: {error.strerror}") from error
    if tried.returncode == LOADER_FAILED:
        raise LaunchError(f"{program.name} cannot start: {_missing_library(tried.stderr)}")


def _missing_library(loader_error: str) -> str:
    message = loader_error.strip().split("error while loading shared libraries: ")[-1]
    if not message.startswith("libpython"):
        return message
    return f"{message} (this Python was built without its shared library; use one that has it)"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How Conch runs tritonserver. With `explicit` control it loads the models that it is told to, else all that are in
    `repositories`; with `poll` it looks there again while it runs. `rate_limits` are arguments of its own. With
    `auto_complete` it finds out for itself what a config.pbtxt leaves out, as far as the model's backend can tell.
    Requests whose caller traces them are traced to `otlp_endpoint`."""

    repositories: tuple[Path, ...]
    access: TritonAccess
    metrics_port: int
    shm_prefix: str
    gpu: bool
    exit_timeout_s: int = 10
    response_cache_bytes: int = 0
    rate_limits: tuple[str, ...] = ()
    control: ControlMode = "none"
    auto_complete: bool = False
    otlp_endpoint: str = ""


def server_argv(binary: Path, backends: Path | None, options: ServerOptions) -> tuple[str, ...]:
    """The command line; `launch.wrappers.hidden_arguments` runs it where the access has secrets.

    With `explicit` control Triton loads a model, code included, that comes with a request: of those who have its key.
    With `none` it rejects to load or unload any after its start. The port of metrics has nothing else.
    """
    return (
        str(binary),
        *(f"--model-repository={path}" for path in options.repositories),
        *((f"--model-control-mode={options.control}",) if options.control != "none" else ()),
        *((f"--repository-poll-secs={POLL_S}",) if options.control == "poll" else ()),
        *((f"--backend-directory={backends}",) if backends else ()),
        # The models of engines leave nothing out, and Triton would start each Python model twice to ask.
        *(() if options.auto_complete else ("--disable-auto-complete-config",)),
        # An engine that cannot be loaded leaves the others up; `Service.parts` are asked for each.
        "--exit-on-error=false",
        "--strict-readiness=false",
        f"--backend-config=python,shm-region-prefix-name={options.shm_prefix}",
        *options.access.arguments,
        f"--metrics-address={LOOPBACK}",
        f"--metrics-port={options.metrics_port}",
        f"--exit-timeout-secs={options.exit_timeout_s}",
        *_response_cache(binary, options.response_cache_bytes),
        *options.rate_limits,
        *_tracing(options.otlp_endpoint),
        *(() if options.gpu else ("--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0")),
    )


def _response_cache(binary: Path, num_bytes: int) -> tuple[str, ...]:
    """Its directory lies beside that of the backends, where the server itself may not look."""
    if not num_bytes:
        return ()
    directory = binary.absolute().parent.parent / "caches"
    return (
        *((f"--cache-directory={directory}",) if directory.is_dir() else ()),
        f"--cache-config=local,size={num_bytes}",
    )


def _tracing(endpoint: str) -> tuple[str, ...]:
    """Triton's own spans, of requests that bring a `traceparent` among their headers."""
    if not endpoint:
        return ()
    settings = ("mode=opentelemetry", f"opentelemetry,url={traces_url(endpoint)}", "level=TIMESTAMPS", f"rate={NEVER}")
    return tuple(f"--trace-config={setting}" for setting in settings)


def server_environment(
    installation: TritonInstallation, environ: Mapping[str, str], access: TritonAccess
) -> dict[str, str]:
    """The server's whole environment. It gets none of the keys, which only the gateway needs."""
    kept = {name: value for name, value in environ.items() if name not in KEY_VARIABLES}
    return {**kept, **installation.environment, **access.secrets, "PYTHONUNBUFFERED": "1"}
