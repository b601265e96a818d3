"""The tritonserver that would run, and whether it finds its shared libraries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from launch.doctor.finding import Finding, tried
from launch.tritonserver import check_loads, find_tritonserver

CONTAINER_VERSION_FILE: Final = Path("/opt/tritonserver/TRITON_VERSION")


def findings() -> Iterator[Finding]:
    yield from tried("tritonserver", _tritonserver)


def _tritonserver() -> str:
    installation = find_tritonserver(os.environ)
    check_loads(installation.binary, installation.environment)
    return f"{_version(installation.binary)} at {installation.binary}"


def _version(binary: Path) -> str:
    """Triton has no option that tells its version; its packages do."""
    if binary.is_relative_to(CONTAINER_VERSION_FILE.parent) and CONTAINER_VERSION_FILE.is_file():
        return CONTAINER_VERSION_FILE.read_text(encoding="utf-8").strip()
    if "pytriton" in binary.parts:
        return f"nvidia-pytriton {metadata.version('nvidia-pytriton')}"
    return "of unknown version"
