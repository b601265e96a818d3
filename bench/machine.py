"""What the figures were measured on: without it a figure says nothing."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import psutil

_PACKAGES: Final = ("conch", "nvidia-pytriton", "openvino-genai", "tritonclient", "uvicorn", "uvloop")


def describe() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, system, and the versions that matter."""
    versions = {name: version for name in _PACKAGES if (version := _version(name)) is not None}
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
        "load_average": round(os.getloadavg()[0], 2),
    }


def decisive(machine: Mapping[str, Any]) -> dict[str, Any]:
    """What of a description decides a figure: another machine if any of it differs."""
    return {name: machine[name] for name in ("processor", "cores", "packages")}


def one_line(machine: dict[str, Any]) -> str:
    return "{processor}, {cores} cores, {memory_gib} GiB; {system}; load average at the start {load_average}".format(
        **machine
    )


class Neighbours:
    """What other programs (and other guests of the same host) take of this machine while something is measured."""

    def __init__(self) -> None:
        self._since_s = time.perf_counter()
        self._foreign_cpu_s = _foreign_cpu_s()

    def cores(self) -> float:
        """Cores that others kept busy since the start, mean; to be asked when the own children have ended."""
        return (_foreign_cpu_s() - self._foreign_cpu_s) / (time.perf_counter() - self._since_s)


def _foreign_cpu_s() -> float:
    machine = psutil.cpu_times()
    busy_s = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice  # guest is in user too
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return float(busy_s - sum(usage.ru_utime + usage.ru_stime for usage in own))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
