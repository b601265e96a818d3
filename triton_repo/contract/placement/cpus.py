"""The CPUs that an engine's process runs on, and the threads that OpenVINO computes with there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from triton_repo.contract.errors import LaunchError

_RANGE: Final = re.compile(r"(?P<first>[0-9]{1,4})(-(?P<last>[0-9]{1,4}))?")
_THREADS: Final = Path("/proc/self/task")


def read_cpus(text: str) -> tuple[int, ...]:
    """CPUs as taskset and Linux's cpusets write them: `0-3,8`.

    Raises:
        ValueError: it is no such list, or names a CPU twice.
    """
    found: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        first = int(match["first"]) if match else 1
        last = int(match["last"] or first) if match else 0
        if last < first:
            raise ValueError(f"must be a list of CPUs such as 0-3,8, not {text!r}")
        found += range(first, last + 1)
    if len(set(found)) < len(found):
        raise ValueError(f"names a CPU twice: {text!r}")
    return tuple(found)


def usable_cpus() -> frozenset[int]:
    """Those that this process may run on: a container or a job may have fewer than the machine."""
    return frozenset(os.sched_getaffinity(0))


def check_cpus(engine: str, cpus: Iterable[int], usable: frozenset[int]) -> None:
    """Raises: LaunchError: the engine is to run on CPUs that are not there, or that this process may not use."""
    if missing := sorted(set(cpus) - usable):
        rule = f"may run on {', '.join(map(str, sorted(usable)))} here"
        raise LaunchError(f"engine {engine}: placement.cpus: CPU {', '.join(map(str, missing))}: {rule}")


def run_on_cpus(engine: str, cpus: Iterable[int]) -> None:
    """Let every thread of this process, and those that they start, run on these CPUs alone; none is every one.

    Raises:
        LaunchError: as `check_cpus`.
    """
    chosen = frozenset(cpus)
    if not chosen:
        return
    check_cpus(engine, chosen, usable_cpus())
    for thread in _THREADS.iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), chosen)


def thread_properties(num_threads: int | None) -> dict[str, Any]:
    """Properties of OpenVINO's CPU plugin for so many threads; None is one for each CPU that the process may use.

    OpenVINO (2026.4) pins its threads, and counts from the first CPU in every process: engines with a few threads each
    would share the first CPUs and leave the others idle. So fewer threads than CPUs are not pinned.
    """
    if num_threads is None:
        return {}
    properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": num_threads}
    if num_threads < len(usable_cpus()):
        properties["ENABLE_CPU_PINNING"] = False
    return properties
