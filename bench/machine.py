"""What the figures were measured on: without it a figure says nothing."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psutil

from triton_repo.contract.distribution import DISTRIBUTION, installed_version
from triton_repo.contract.gpu import installed_gpus

_PACKAGES: Final = (
    DISTRIBUTION,
    "nvidia-pytriton",
    "openvino-genai",
    "tensorrt_llm",
    "tritonclient",
    "uvicorn",
    "uvloop",
)
_QUIET_CORES: Final = 0.1  # what other programs may use without a word


def describe() -> dict[str, Any]:
    """Processor, cores that this process may use, GPUs, memory, system, and the versions that matter."""
    versions = {name: version for name in _PACKAGES if (version := installed_version(name)) is not None}
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "gpus": [gpu.name for gpu in installed_gpus().devices],
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
        "load_average": round(os.getloadavg()[0], 2),
    }


def decisive(machine: Mapping[str, Any]) -> dict[str, Any]:
    """What of a description decides a figure: another machine if any of it differs."""
    return {name: machine[name] for name in ("processor", "cores", "gpus", "packages")}


def one_line(machine: dict[str, Any]) -> str:
    parts = [f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"]
    parts += [f"{count} × {name}" for name, count in Counter(machine["gpus"]).items()]
    parts += [machine["system"], f"load average at the start {machine['load_average']}"]
    return "; ".join(parts)


class Neighbours:
    """What other programs (and other guests of the same host) take of this machine while something is measured."""

    def __init__(self) -> None:
        self._since_s = time.perf_counter()
        self._foreign_cpu_s = _foreign_cpu_s()

    def cores(self) -> float:
        """Cores that others kept busy since the start, mean; to be asked when the own children have ended."""
        return (_foreign_cpu_s() - self._foreign_cpu_s) / (time.perf_counter() - self._since_s)


def disturbance(foreign_cores: float) -> str | None:
    """In words what other programs took; None if it is too little for a word."""
    return f"other programs kept {foreign_cores:.1f} cores busy" if foreign_cores > _QUIET_CORES else None


def _foreign_cpu_s() -> float:
    machine = psutil.cpu_times()
    busy_s = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice  # guest is in user too
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return float(busy_s - sum(usage.ru_utime + usage.ru_stime for usage in own))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
