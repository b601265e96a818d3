"""Whether the ports are free, and what listens on those that are not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launch.doctor.finding import Finding, error, warning
from launch.ports import LOOPBACK, Listener, check_ports
from triton_repo.contract.errors import LaunchError

PROC: Final = Path("/proc")
_LISTEN: Final = "0A"  # a socket's state in /proc/net/tcp
_MAX_SHOWN: Final = 60  # characters of a command line
_WHEN_EXPOSED: Final = ("--triton-http-port", "--triton-grpc-port")


@dataclass(frozen=True, slots=True)
class Program:
    """What listens on a port."""

    pid: int
    command: tuple[str, ...]

    def __str__(self) -> str:
        line = " ".join(" ".join(self.command).split())
        return f"process {self.pid} ({line if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + '…'})"


def findings(ports: Mapping[str, int], ours: Mapping[int, str]) -> Iterator[Finding]:
    """`ports` by the flag that chooses them; `ours` are those of a Conch that runs, and what it does there."""
    for flag, port in ports.items():
        if port in ours:
            yield Finding(f"port {port}", ours[port])
        else:
            yield _check(flag, port)


def _check(flag: str, port: int) -> Finding:
    try:
        check_ports([Listener(flag, LOOPBACK, port)])
    except LaunchError as failure:
        what, found = f"port {port}", f"in use by {listening(port) or 'a process of another user'}"
        if flag in _WHEN_EXPOSED:
            return warning(what, found, f"needed with --expose-kserve alone; then {failure}")
        return error(what, found, str(failure))
    return Finding(f"port {port}", "free")


def listening(port: int, proc: Path = PROC) -> Program | None:
    """The first process that has a listening socket of this port; None where there is none that this user may see."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port, proc)}
    for directory in proc.glob("[0-9]*") if sockets else ():
        with suppress(OSError):  # of another user, or ended meanwhile
            if any(os.readlink(link) in sockets for link in (directory / "fd").iterdir()):
                words = (directory / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                return Program(int(directory.name), tuple(word.decode(errors="replace") for word in words))
    return None


def _inodes(port: int, proc: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text(encoding="utf-8").splitlines()[1:]:
                fields = line.split()  # number, local address, remote address, state, …, inode
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
