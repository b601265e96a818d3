"""`conch serve` as a person runs it, on free ports, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from launch.descendants import MARK, PROC
from launch.shared_memory import SHM
from tests.waiting import WAIT_S, wait_for

CONCH = (sys.executable, "-m", "launch.cli")
_PREFIX = re.compile(rb"shm-region-prefix-name=(\w+)")
_LISTENS = "0A"  # TCP_LISTEN in /proc/net/tcp
KEY = "sk-canary-8472"


class Server:
    """A running `conch serve`; its output is collected, its processes are known by an ancestor in the environment."""

    def __init__(self, arguments: Sequence[str], ports: Sequence[int], directory: Path) -> None:
        tag = f"{directory}{ports[0]}"
        self.ports = tuple(ports)  # of the gateway, and Triton's of HTTP, gRPC and metrics
        self.directory = directory
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.lines: list[str] = []
        self.tag = tag
        self._tag = f"CONCH_TEST={tag}\0".encode()
        self.process = subprocess.Popen(
            (*CONCH, "serve", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "CONCH_API_KEY": KEY, "CONCH_TEST": tag, "XDG_RUNTIME_DIR": str(directory)},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as output:
            self.lines.extend(iter(output.readline, ""))

    def said(self, text: str) -> bool:
        return any(text in line for line in list(self.lines))

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def descendants(self) -> dict[int, bytes]:
        """Running processes that the server started, with their command lines."""
        found = {}
        for path in PROC.glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes()
                if self._tag in environment and f"{MARK}=".encode() in environment:
                    found[int(path.name)] = (path / "cmdline").read_bytes()
            except OSError:  # ended meanwhile
                continue
        return found

    def shm_prefix(self) -> str:
        """What its tritonserver was told to put in front of the names of its regions."""
        (prefix,) = {match[1].decode() for match in map(_PREFIX.search, self.descendants().values()) if match}
        return prefix

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return status


def _target(link: Path) -> str:
    """Of a link in /proc, which may be gone by now."""
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


def listening_ports(pids: Iterable[int]) -> set[int]:
    """The TCP ports of these processes."""
    links = [link for pid in pids for link in (PROC / str(pid) / "fd").iterdir()]
    inodes = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", _target(link)))}
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text(encoding="utf-8").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS and fields[9] in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def regions(prefix: str) -> list[Path]:
    return list(SHM.glob(f"{prefix}*"))


@contextmanager
def serving(
    spec: Path, ports: Sequence[int], *arguments: str, runtime_directory: Path | None = None
) -> Iterator[Server]:
    """A ready server; killed at the end if the test has not stopped it."""
    flags = ("--port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port")
    chosen = [word for flag, port in zip(flags, ports, strict=True) for word in (flag, str(port))]
    server = Server((str(spec), *chosen, *arguments), ports, runtime_directory or spec.parent)
    try:
        wait_for(lambda: server.said("Conch is ready") or server.process.poll() is not None, lambda: server.output)
        assert server.process.poll() is None, server.output
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
