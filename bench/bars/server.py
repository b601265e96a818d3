"""`conch serve` for the length of a measurement, as a person would start it."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.connection import Target
from bench.processes import ProcessTrees
from triton_repo.errors import BenchError

ROOT: Final = Path(__file__).resolve().parents[2]
ENGINES: Final = ROOT / "bench" / "engines"
FAST: Final = str(ENGINES / "fast.toml")
LLAMA: Final = str(ENGINES / "llama-90m.toml")

_CONCH: Final = (sys.executable, "-m", "launch.cli")
_START_TIMEOUT_S: Final = 600.0
_STOP_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.05


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


def build(spec: str) -> None:
    """Bring an engine up to date, so that a start is only a start."""
    done = subprocess.run([*_CONCH, "build", spec], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"conch build {spec} failed: {done.stderr.strip() or done.stdout.strip()}")


@contextmanager
def serving(*engines: str) -> Iterator[Server]:
    """Serve engines (names or spec files) on free ports until the end of the block.

    Raises:
        BenchError: the server ended before it was ready, or was not ready in time.
    """
    ports = _free_ports(4)
    flags = ("--port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port")
    argv = [*_CONCH, "serve", *engines]
    argv += [word for flag, port in zip(flags, ports, strict=True) for word in (flag, str(port))]
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait_ready(process, ports[0], started + _START_TIMEOUT_S)
            ready_after_s = time.perf_counter() - started
            yield Server(Target.parse(f"http://127.0.0.1:{ports[0]}"), ports[3], process.pid, ready_after_s)
        except BenchError as error:
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines()
            raise BenchError("\n".join([str(error), *said[-5:]])) from error
        finally:
            _stop(process)


def _wait_ready(process: subprocess.Popen[bytes], port: int, deadline: float) -> None:
    while not _is_ready(port):
        if process.poll() is not None:
            raise BenchError(f"conch serve ended with {process.returncode} before it was ready")
        if time.perf_counter() > deadline:
            raise BenchError(f"conch serve was not ready after {_START_TIMEOUT_S:g} s")
        time.sleep(_POLL_S)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT_S)
    process.kill()
    process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
