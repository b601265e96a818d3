"""The processes that descend from a server, found by a mark in their environment.

The mark reaches every descendant, also one that changed its session or whose parent died (a killed tritonserver
leaves the stubs of its Python models, an MPI launcher makes new sessions), where a process group would lose it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path

MARK = "CONCH_SERVICE"
PROC = Path("/proc")
KILL_DEADLINE_S = 10.0

logger = logging.getLogger(__name__)


def marked_processes(mark: str) -> tuple[int, ...]:
    """Ids of the running processes whose environment says MARK=`mark`; a zombie is not running."""
    entry = f"{MARK}={mark}\0".encode()
    return tuple(int(path.name) for path in PROC.glob("[0-9]*") if entry in _read(path / "environ"))


def command_line(pid: int) -> tuple[str, ...]:
    """Arguments of a running process; empty once it has ended."""
    return tuple(_read(PROC / str(pid) / "cmdline").decode(errors="replace").split("\0")[:-1])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended meanwhile, or another user's
        return b""


def parent_of(pid: int) -> int:
    """0 if the process has ended."""
    fields = _read(PROC / str(pid) / "stat").decode(errors="replace").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0


async def kill_marked(mark: str) -> None:
    """SIGKILL to every process with the mark, until none is left."""
    deadline = asyncio.get_running_loop().time() + KILL_DEADLINE_S
    while pids := marked_processes(mark):
        if asyncio.get_running_loop().time() > deadline:
            logger.error("processes %s cannot be killed", ", ".join(map(str, pids)))
            return
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.02)
