"""Bounds on what a child process may take from here on."""

from __future__ import annotations

import resource
from pathlib import Path


def bound(cpu_s: int, memory_bytes: int) -> None:
    """End this process after `cpu_s` more of CPU time; let it map `memory_bytes` more than it has mapped."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s += int(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
