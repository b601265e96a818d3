"""Bar 5: how long a person waits for a server whose engine is already built, and what the gateway's import costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from bench.bars.finding import Finding
from bench.child_server import ROOT
from bench.server import build, serving

IMPORTS: Final = 5
_TIMED_IMPORT: Final = (
    "import time; t = time.perf_counter(); import gateway.app, gateway.processes.server; print(time.perf_counter() - t)"
)


def measure() -> Iterator[Finding]:
    build("demo")
    with serving("demo"):
        pass  # the first start fills the caches of the file system and of Python
    with serving("demo") as server:
        yield Finding(5, "second `conch serve demo`, until ready", server.ready_after_s, "s", "≤", 10.0)
    times = [_import_s() for _ in range(IMPORTS)]
    yield Finding(5, f"import of the gateway, median of {IMPORTS}", statistics.median(times), "s", "≤", 1.0)


def _import_s() -> float:
    argv = [sys.executable, "-c", _TIMED_IMPORT]
    return float(subprocess.run(argv, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout)
