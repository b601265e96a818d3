"""`conch doctor`: what this machine has, what it lacks, and the cure."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import platform
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.text import Text

from launch.ports import LOOPBACK, Listener, check_ports
from launch.shared_memory import SHM, check_shared_memory
from launch.tritonserver import check_loads, find_tritonserver
from triton_repo.contract.distribution import install_command
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.gpu import Gpu, installed_gpus
from triton_repo.contract.steps import STEPS

OLDEST_PYTHON = (3, 11)
CONTAINER_VERSION_FILE = Path("/opt/tritonserver/TRITON_VERSION")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table; `cure` is empty where nothing is wrong; serving can do without what is not `needed`."""

    what: str
    found: str
    cure: str = ""
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Role:
    """A part of Conch, its extra in pyproject.toml and the modules that it imports."""

    extra: str
    purpose: str
    modules: tuple[str, ...]
    needed: bool


ROLES = (
    Role(
        "gateway",
        "the OpenAI API",
        (
            "fastapi",
            "google",
            "grpc",
            "jsonschema_rs",
            "ml_dtypes",
            "numpy",
            "orjson",
            "prometheus_client",
            "python_multipart",
            "rapidjson",
            "starlette",
            "tritonclient",
            "uvicorn",
        ),
        True,
    ),
    Role("models", "the models inside Triton", ("jinja2", "numpy", "tokenizers"), True),
    Role("openvino", "the CPU engine", ("openvino_genai",), False),
    Role(
        "build",
        "exporting checkpoints",
        ("gguf", "nncf", "optimum", "safetensors", "torch", "transformers", "tritonclient", "yaml"),
        False,
    ),
    Role("chat", "the terminal client", ("openai",), False),
    Role("bench", "the load generator", ("httptools", "orjson", "psutil", "uvloop"), False),
)


def doctor(ports: Mapping[str, int]) -> bool:
    """Print the table; True if nothing is missing that serving needs. `ports` by the flag that chooses them."""
    findings = tuple(_findings(ports))
    console = Console()
    for finding in findings:
        _print(finding, console)
    return not any(finding.cure and finding.needed for finding in findings)


def _findings(ports: Mapping[str, int]) -> Iterator[Finding]:
    yield check_python()
    for role in ROLES:
        yield check_role(role)
    yield from _check("tritonserver", _tritonserver)
    yield check_libpython()
    yield from _check("shared memory", _shared_memory)
    for flag, port in ports.items():
        yield from _check(f"port {port}", partial(_port, flag, port))
    yield check_gpu()
    yield check_engines(_engines_built())


def _check(what: str, probe: Callable[[], str]) -> Iterator[Finding]:
    """What `probe` finds; its LaunchError says what is wrong and what helps."""
    try:
        yield Finding(what, probe())
    except LaunchError as error:
        yield Finding(what, "not usable", str(error))


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    found = f"{'.'.join(map(str, version))} on {platform.system()} {platform.machine()}"
    cure = "" if version >= OLDEST_PYTHON else "Conch needs Python 3.11 or newer"
    return Finding("python", found, cure)


def check_role(role: Role) -> Finding:
    missing = [module for module in role.modules if importlib.util.find_spec(module) is None]
    what = f"packages: {role.extra}"
    if missing:
        return Finding(what, f"{', '.join(missing)} missing", install_command(role.extra), role.needed)
    return Finding(what, role.purpose)


def _tritonserver() -> str:
    installation = find_tritonserver(os.environ)
    check_loads(installation.binary, installation.environment)
    return f"{_triton_version(installation.binary)} at {installation.binary}"


def _triton_version(binary: Path) -> str:
    """Triton has no option that tells its version; its packages do."""
    if binary.is_relative_to(CONTAINER_VERSION_FILE.parent) and CONTAINER_VERSION_FILE.is_file():
        return CONTAINER_VERSION_FILE.read_text(encoding="utf-8").strip()
    if "pytriton" in binary.parts:
        return f"nvidia-pytriton {metadata.version('nvidia-pytriton')}"
    return "of unknown version"


def check_libpython() -> Finding:
    """The stubs of nvidia-pytriton are linked with the interpreter's shared library."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    if (Path(str(sysconfig.get_config_var("LIBDIR"))) / name).is_file():
        return Finding("libpython", name)
    try:
        ctypes.CDLL(name)
    except OSError:
        return Finding("libpython", f"{name} not found", "use a Python that was built with --enable-shared")
    return Finding("libpython", name)


def _shared_memory() -> str:
    check_shared_memory(len(STEPS))
    stat = os.statvfs(SHM)
    return f"{SHM}: {stat.f_bavail * stat.f_frsize / 2**30:.1f} GiB free"


def _port(flag: str, port: int) -> str:
    check_ports([Listener(flag, LOOPBACK, port)])
    return "free"


def check_gpu() -> Finding:
    """GPUs through NVML; serving on the CPU needs none."""
    found = installed_gpus()
    if found.problem is not None:
        return Finding("GPU", "a driver is installed", f"NVML reports: {found.problem}", needed=False)
    if not found.devices:
        return Finding("GPU", "none: the CPU engine serves")
    return Finding("GPU", ", ".join(map(_shown, found.devices)))


def _shown(gpu: Gpu) -> str:
    return f"{gpu.name} {gpu.memory_bytes / 2**30:.0f} GiB, compute capability {gpu.compute_capability}"


def _engines_built() -> list[str]:
    from build_scripts.spec.reading import ENGINES

    built = (ENGINES / "built").glob("*")
    return sorted(path.name for path in built if EngineDirectory(path).manifest_file.is_file())


def check_engines(names: Sequence[str]) -> Finding:
    if not names:
        return Finding("engines", "none built", "conch serve builds the demo; conch build builds others", needed=False)
    return Finding("engines", ", ".join(names))


def _print(finding: Finding, console: Console) -> None:
    mark, style = ("ok", "green") if not finding.cure else ("MISSING", "red") if finding.needed else ("-", "yellow")
    line = Text(f"{mark:>7}  ", style=style)
    line.append(f"{finding.what:<20} {finding.found}", style="default")
    console.print(line, soft_wrap=True, highlight=False)
    if finding.cure:
        console.print(Text(f"{'':30}→ {finding.cure}", style=style), soft_wrap=True, highlight=False)
