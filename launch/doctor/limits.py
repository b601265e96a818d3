"""What the system lets a process have: memory, CPU time, open files, and what NCCL needs."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from launch.doctor.finding import Finding, warning
from launch.placement.machine import machine_memory
from triton_repo.contract.placement.cgroups import own_cores

FILES_OF_CONNECTIONS: Final = 8192 + 256  # a worker's --max-connections, and what else it has open
STACK_OF_GPU_ENGINES: Final = 64 << 20  # what NVIDIA's containers are started with


@dataclass(frozen=True, slots=True)
class Limits:
    """Of this process; None is no limit. `memory_bytes`: of the machine, or of its cgroup if that allows less.
    `cores`: those that a cgroup's quota amounts to.
    """

    open_files: int | None
    locked_bytes: int | None
    stack_bytes: int | None
    memory_bytes: int
    cores: float | None
    visible_cores: int


def findings(engine_bytes: int, *, has_gpu: bool) -> Iterator[Finding]:
    """`engine_bytes`: of all engines that are loaded into the host's memory."""
    limits = read_limits()
    yield check_memory(limits.memory_bytes, engine_bytes)
    yield from check_limits(limits, has_gpu=has_gpu)


def read_limits() -> Limits:
    """The hard limits: what a process may raise its own limits to."""
    return Limits(
        open_files=_hard(resource.RLIMIT_NOFILE),
        locked_bytes=_hard(resource.RLIMIT_MEMLOCK),
        stack_bytes=_hard(resource.RLIMIT_STACK),
        memory_bytes=machine_memory().num_bytes,
        cores=own_cores(),
        visible_cores=len(os.sched_getaffinity(0)),
    )


def check_memory(memory: int, engines: int) -> Finding:
    found = f"{memory / 2**30:.1f} GiB"
    if engines > memory:
        todo = "serve fewer of them at a time, quantize (build.quantization), or raise the limit of the container"
        return warning("memory", f"{found}, and all engines have {engines / 2**30:.1f} GiB of weights", todo)
    return Finding("memory", found)


def check_limits(limits: Limits, *, has_gpu: bool) -> Iterator[Finding]:
    if limits.open_files is not None and limits.open_files < FILES_OF_CONNECTIONS:
        todo = f"workers take fewer connections then; raise it to {FILES_OF_CONNECTIONS} or more (ulimit -Hn)"
        yield warning("open files", f"at most {limits.open_files}", todo)
    else:
        yield Finding("open files", _shown(limits.open_files))
    if has_gpu:
        yield from _check_for_gpus(limits)
    if limits.cores is not None and limits.cores < limits.visible_cores:
        todo = f"set serve.num_threads = {max(1, int(limits.cores))} in the spec: more threads than that are throttled"
        yield warning("CPU limit", f"{limits.cores:g} of the {limits.visible_cores} cores that are seen", todo)


def _check_for_gpus(limits: Limits) -> Iterator[Finding]:
    if limits.locked_bytes is not None:
        todo = "NCCL and RDMA lock memory: docker run --ulimit memlock=-1, or LimitMEMLOCK=infinity of systemd"
        yield warning("locked memory", f"at most {limits.locked_bytes // 1024} KiB", todo)
    if limits.stack_bytes is not None and limits.stack_bytes < STACK_OF_GPU_ENGINES:
        todo = f"docker run --ulimit stack={STACK_OF_GPU_ENGINES}"
        yield warning("stack", f"at most {limits.stack_bytes // 1024} KiB", todo)


def _hard(kind: int) -> int | None:
    _, hard = resource.getrlimit(kind)
    return None if hard == resource.RLIM_INFINITY else hard


def _shown(limit: int | None) -> str:
    return "no limit" if limit is None else f"up to {limit}"
