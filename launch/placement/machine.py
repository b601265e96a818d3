"""What engines share here: CPUs, the memory of each GPU as its driver reports it, and the RAM that may be used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from launch.placement.budgets import Memory
from triton_repo.contract.gpu import InstalledGpus, installed_gpus
from triton_repo.contract.placement.cgroups import own_memory_bytes
from triton_repo.contract.placement.cpus import usable_cpus
from triton_repo.contract.placement.gpus import VISIBLE

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
    limit = own_memory_bytes()
    if limit is not None and limit < total:
        return Memory("the memory that this container may use", limit)
    return Memory("the memory of this machine", total)
