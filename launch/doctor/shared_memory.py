"""Whether /dev/shm has room for the engines that are built: Triton and its models pass tensors through it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from launch.doctor.finding import Finding, error, warning
from launch.shared_memory import MIB, SHM, SHM_PER_STEP, check_shared_memory
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.steps import STEPS


def findings(steps: int) -> Iterator[Finding]:
    """`steps`: models of all engines that are built."""
    try:
        check_shared_memory(len(STEPS))
    except LaunchError as failure:
        yield error("shared memory", "too little", str(failure))
        return
    stat = os.statvfs(SHM)
    yield check_room(stat.f_bavail * stat.f_frsize, steps)


def check_room(free: int, steps: int) -> Finding:
    needed = steps * SHM_PER_STEP
    found = f"{SHM}: {free / 2**30:.1f} GiB free"
    if free < needed:
        todo = f"all engines together need {needed // MIB} MiB: serve fewer, or docker run --shm-size={needed // MIB}m"
        return warning("shared memory", found, todo)
    return Finding("shared memory", found)
