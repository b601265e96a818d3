"""`conch serve` for the length of a measurement, as a person would start it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.child_server import ROOT, ChildServer, free_ports, tethered
from bench.load.connection import Target
from bench.processes import ProcessTrees
from triton_repo.contract.api_key import API_KEY_VARIABLE
from triton_repo.contract.errors import BenchError

_CONCH: Final = (sys.executable, "-m", "launch.cli")
_START_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running `conch serve`: its gateway, Triton's port for /metrics on loopback, the process to watch, its start."""

    target: Target
    metrics_port: int
    pid: int
    ready_after_s: float

    @property
    def processes(self) -> ProcessTrees:
        return ProcessTrees([self.pid])


def build(spec: str, *flags: str) -> None:
    """Bring an engine up to date, so that a start is only a start."""
    argv = tethered([*_CONCH, "build", spec, *flags])
    done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise BenchError(f"conch build {spec} failed: {done.stderr.strip() or done.stdout.strip()}")


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """`conch serve ARGUMENTS` (engines by name or spec file, flags) on free ports until the end of the block.

    Raises:
        BenchError: the server ended before it was ready, or was not ready in time.
    """
    ports = free_ports(4)
    flags = ("--port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port")
    argv = [*_CONCH, "serve", *arguments]
    argv += [word for flag, port in zip(flags, ports, strict=True) for word in (flag, str(port))]
    environment = {
        name: value for name, value in os.environ.items() if name != API_KEY_VARIABLE
    }  # the load sends no key
    server = ChildServer("conch serve", argv, ports[0], "/health/ready", environment, _START_TIMEOUT_S)
    with server.running() as running:
        yield Server(Target.parse(f"http://127.0.0.1:{ports[0]}"), ports[3], running.pid, running.ready_after_s)
