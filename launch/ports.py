"""Checks that ports and sockets can be had before a server starts: one sentence, and not a server's log."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from triton_repo.contract.errors import LaunchError

LOOPBACK: Final = "127.0.0.1"
_MAX_SOCKET_PATH: Final = 107  # bytes; <sys/un.h>
_EVERY_ADDRESS: Final = {"0.0.0.0": LOOPBACK, "::": "[::1]", "": LOOPBACK}


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that a server will listen on, and the flag that chooses it."""

    flag: str
    host: str
    port: int


def reachable(host: str) -> str:
    """Where this machine reaches what listens on `host`, as URLs have it."""
    return _EVERY_ADDRESS.get(host, f"[{host}]" if ":" in host else host)


def check_socket(path: Path) -> None:
    """Raises: LaunchError: no socket can have a path of this length."""
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise LaunchError(f"{path.parent}: this path is too long for sockets; set XDG_RUNTIME_DIR to a shorter one")


def check_ports(listeners: Sequence[Listener]) -> None:
    """LaunchError naming port and flag, unless all of them can be listened on at once."""
    flags: dict[int, str] = {}
    with ExitStack() as held:
        for listener in listeners:
            if other := flags.get(listener.port):
                raise LaunchError(f"{other} and {listener.flag} are both {listener.port}; give each its own port")
            flags[listener.port] = listener.flag
            held.enter_context(_bound(listener))


@contextmanager
def claimed_ports(listeners: Sequence[Listener]) -> Iterator[None]:
    """They are free, and in the block no other `conch serve` takes them: each listens only once its engines are loaded.

    Raises:
        LaunchError: as `check_ports`, or another has claimed one.
    """
    check_ports(listeners)
    with ExitStack() as claims:
        for listener in listeners:
            claims.enter_context(_claim(listener))
        yield


def _claim(listener: Listener) -> socket.socket:
    """A name that one process alone can have, where a port is one process's alone: in one network namespace."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0conch-{listener.host}-{listener.port}")
    except OSError as error:
        claim.close()
        raise LaunchError(_why_not_bound(listener, error)) from error
    return claim


def _bound(listener: Listener) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise LaunchError(f"cannot listen on {listener.host}: {error.strerror}") from error
    bound = socket.socket(family, kind, protocol)
    # As the servers do it: connections that only wait for their end do not keep a port.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise LaunchError(_why_not_bound(listener, error)) from error
    return bound


def _why_not_bound(listener: Listener, error: OSError) -> str:
    where = f"port {listener.port} ({listener.flag}) on {listener.host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is already in use: stop the program that listens there, or choose another port"
    return f"{where} cannot be used: {error.strerror}"
