"""Bounds on what a child process may take from here on."""

from __future__ import annotations

import resource
from pathlib import Path


def bound(cpu_s: int, memory_bytes: int) -> None:
    """End this process after `cpu_s` more of CPU time; let it map `memory_bytes` more than it has mapped.

    A limit that it has already is not raised.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s += int(used.ru_utime + used.ru_stime)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    _limit(resource.RLIMIT_CPU, cpu_s, cpu_s + 1)
    _limit(resource.RLIMIT_AS, *[pages * resource.getpagesize() + memory_bytes] * 2)


def _limit(what: int, soft: int, hard: int) -> None:
    _, most = resource.getrlimit(what)
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(what, (soft, hard))
