"""A server as a child of a measurement: started on a port, waited for, and gone at the end whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from triton_repo.contract.errors import BenchError
from triton_repo.contract.http_probe import http_status

ROOT: Final = Path(__file__).resolve().parents[1]

_TETHER: Final = (sys.executable, "-I", "-S", str(ROOT / "launch" / "wrappers" / "tether.py"))  # PARENT SIGNAL COMMAND…
_STOP_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Running:
    """A server that has become ready; `log` is the descriptor of the file that it writes to."""

    pid: int
    ready_after_s: float
    log: int

    def said(self, since: int = 0) -> bytes:
        """What it has written, but for so many bytes at the beginning."""
        return os.pread(self.log, max(0, os.fstat(self.log).st_size - since), since)


@dataclass(frozen=True, slots=True)
class ChildServer:
    """How to run a server; it is ready when `ready_path` on `port` answers with 200."""

    name: str
    argv: Sequence[str]
    port: int
    ready_path: str
    environment: Mapping[str, str]
    start_timeout_s: float

    @contextmanager
    def running(self) -> Iterator[Running]:
        """The server, ready, until the end of the block.

        Raises:
            BenchError: it ended before it was ready, or was not ready in time; with the last that it said.
        """
        with tempfile.TemporaryFile() as log:
            started = time.perf_counter()
            process = subprocess.Popen(
                tethered(self.argv),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,  # a terminal's Ctrl-C is for the measurement, which then stops its server
            )
            try:
                self._wait_ready(process, started + self.start_timeout_s)
                yield Running(process.pid, time.perf_counter() - started, log.fileno())
            except BenchError as error:
                log.seek(0)
                said = log.read().decode(errors="replace").strip().splitlines()
                raise BenchError("\n".join([str(error), *said[-5:]])) from error
            finally:
                _stop(process)

    def _wait_ready(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        while http_status(f"http://127.0.0.1:{self.port}{self.ready_path}", timeout_s=5) != 200:
            if process.poll() is not None:
                raise BenchError(f"{self.name} ended with {process.returncode} before it was ready")
            if time.perf_counter() > deadline:
                raise BenchError(f"{self.name} was not ready after {self.start_timeout_s:g} s")
            time.sleep(_POLL_S)


def tethered(argv: Sequence[str]) -> list[str]:
    """The command, ended by SIGTERM if this process dies: a killed measurement leaves no server behind."""
    return [*_TETHER, str(os.getpid()), str(int(signal.SIGTERM)), *argv]


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT_S)
    process.kill()
    process.wait()
