"""The name of this machine, and its clock."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Iterator
from typing import Final

from launch.doctor.finding import Finding, warning

MAX_HOST_NAME: Final = 64  # Linux' HOST_NAME_MAX; PMIx of Open MPI 5 cannot spawn ranks on longer names
_CLOCK_IS_NOT_SYNCHRONIZED: Final = 5  # TIME_ERROR of adjtimex(2)


def findings() -> Iterator[Finding]:
    yield check_host_name(socket.gethostname())
    yield check_clock(_clock_state())


def check_host_name(name: str) -> Finding:
    """MPI's start of several ranks fails on a longer name, with an error that does not say so."""
    if not 0 < len(name) <= MAX_HOST_NAME:
        todo = (
            f"MPI cannot start ranks with more than {MAX_HOST_NAME} characters: docker run --hostname, or hostnamectl"
        )
        return warning("host name", f"{len(name)} characters", todo)
    return Finding("host name", name)


def check_clock(state: int) -> Finding:
    """`state` as adjtimex(2) returns it: < 0 where a container may not ask."""
    if state == _CLOCK_IS_NOT_SYNCHRONIZED:
        todo = (
            "certificates, expiry times and traces over machines need the right time: run chrony or systemd-timesyncd"
        )
        return warning("clock", "not synchronized, says the kernel", todo)
    return Finding("clock", "synchronized" if state >= 0 else "not told here")


def _clock_state() -> int:
    """With a structure of zeros it changes nothing, and any user may ask."""
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))  # more than sizeof(struct timex)
