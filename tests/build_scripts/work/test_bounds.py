"""Bounds of a child process, within those that its parent has set."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_CPU, (50, {cpu_s}))
from build_scripts.work.bounds import bound
bound(100, 1 << 30)
bound(200, 2 << 30)
print(*resource.getrlimit(resource.RLIMIT_CPU))
bytearray(4 << 30)
"""


def bounded(cpu_s: int) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", PROGRAM.format(cpu_s=cpu_s)]
    return subprocess.run(argv, capture_output=True, encoding="utf-8", check=False)


def test_a_limit_that_is_set_already_is_not_raised() -> None:
    assert bounded(60).stdout.split() == ["60", "60"]


def test_memory_beyond_the_bound_cannot_be_had() -> None:
    assert bounded(1_000).stderr.endswith("MemoryError\n")
