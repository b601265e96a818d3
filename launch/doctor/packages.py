"""Python and its packages, by the part of Conch that needs them."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launch.doctor.finding import Finding, error, warning
from triton_repo.contract.distribution import install_command

OLDEST_PYTHON: Final = (3, 11)


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


def findings() -> Iterator[Finding]:
    yield check_python()
    for role in ROLES:
        yield check_role(role)
    yield check_libpython()


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    found = f"{'.'.join(map(str, version))} on {platform.system()} {platform.machine()}"
    if version < OLDEST_PYTHON:
        return error("python", found, "Conch needs Python 3.11 or newer")
    return Finding("python", found)


def check_role(role: Role) -> Finding:
    missing = [module for module in role.modules if importlib.util.find_spec(module) is None]
    what = f"packages: {role.extra}"
    if missing:
        say = error if role.needed else warning
        return say(what, f"{', '.join(missing)} missing", install_command(role.extra))
    return Finding(what, role.purpose)


def check_libpython() -> Finding:
    """The stubs of nvidia-pytriton are linked with the interpreter's shared library."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    if (Path(str(sysconfig.get_config_var("LIBDIR"))) / name).is_file():
        return Finding("libpython", name)
    try:
        ctypes.CDLL(name)
    except OSError:
        return error("libpython", f"{name} not found", "use a Python that was built with --enable-shared")
    return Finding("libpython", name)
