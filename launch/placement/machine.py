"""What engines share here: CPUs, the memory of each GPU as its driver reports it, and the RAM that may be used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launch.placement.budgets import Memory
from triton_repo.contract.gpu import InstalledGpus, installed_gpus
from triton_repo.contract.placement.cpus import usable_cpus
from triton_repo.contract.placement.gpus import VISIBLE

CGROUPS: Final = Path("/sys/fs/cgroup")
_OF_THIS_PROCESS: Final = Path("/proc/self/cgroup")
_ELSEWHERE: Final = ", or choose other GPUs (placement.gpus)"


@dataclass(frozen=True, slots=True)
class Machine:
    """What engines are placed on. `visible` is the server's own CUDA_VISIBLE_DEVICES."""

    gpus: InstalledGpus
    memory: Memory
    cpus: frozenset[int]
    visible: str | None = None


def this_machine(environ: Mapping[str, str]) -> Machine:
    return Machine(installed_gpus(), machine_memory(), usable_cpus(), environ.get(VISIBLE))


def gpu_memory(installed: InstalledGpus, index: int) -> Memory | None:
    """Of the GPU that `nvidia-smi` gives this number; None where there is none."""
    if index >= installed.count:
        return None
    gpu = installed.devices[index]
    return Memory(f"GPU {index} ({gpu.name})", gpu.memory_bytes, _ELSEWHERE)


def machine_memory() -> Memory:
    """The machine's RAM, or the least that a cgroup of this process allows."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = cgroup_limit(_OF_THIS_PROCESS, CGROUPS)
    if limit is not None and limit < total:
        return Memory("the memory that this container may use", limit)
    return Memory("the memory of this machine", total)


def cgroup_limit(of_process: Path, mount: Path) -> int | None:
    """In bytes, of the process's control group and of those that it is in; None where none has one.

    Version 2: `memory.max` in each directory up to the mount; version 1: `memory.limit_in_bytes` of the controller.
    """
    limits = []
    for line in _lines(of_process):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            limits += [_limit(directory / "memory.max") for directory in _upwards(mount, path)]
        elif "memory" in controllers.split(","):
            directories = _upwards(mount / "memory", path)
            limits += [_limit(directory / "memory.limit_in_bytes") for directory in directories]
    return min((limit for limit in limits if limit is not None), default=None)


def _upwards(mount: Path, path: str) -> list[Path]:
    """A container often sees its own group as the mount, whatever path the kernel tells."""
    group = mount / path.lstrip("/")
    return [each for each in (group, *group.parents) if each == mount or mount in each.parents]


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.count(":") >= 2]
    except OSError:
        return []


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None
