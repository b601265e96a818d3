"""A script, `python hidden_arguments.py COMMAND…`: becomes COMMAND, some of whose arguments `ps` does not show.

COMMAND finds the value of the environment variable NAME where an argument is `$NAME`, while its command line, which
every user of the machine may read, keeps saying `$NAME`; its environment is readable to its own user alone. This is
for a program that takes a secret as an argument and in no other way.

At the start of a program, before its first instruction, its stack holds the pointers to its arguments and to its
environment. A process that traces it there makes the pointer to `$NAME` one to the value.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

COMMAND_NOT_RUN = 127  # what a shell answers for a command that it cannot run

_PTRACE_CONT, _PTRACE_DETACH, _PTRACE_SEIZE = 7, 17, 0x4206  # <linux/ptrace.h>
_PTRACE_O_TRACEEXEC: Final = 1 << 4
_AT_EXEC: Final = signal.SIGTRAP | 4 << 8  # PTRACE_EVENT_EXEC
_PR_SET_PTRACER: Final = 0x59616D61  # <linux/prctl.h>; where Yama is, a process may not trace another without this
_WALL: Final = 0x40000000  # <linux/wait.h>
_START_STACK: Final = 25  # field 28 of /proc/PID/stat, counted from after the name: where the pointers begin
_POINTER: Final = struct.calcsize("P")
_libc: Final = ctypes.CDLL(None)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def hiding(command: tuple[str, ...], secrets: Mapping[str, str]) -> tuple[str, ...]:
    """The command line that runs `command` with the arguments `$NAME` hidden, if there are any `secrets` by NAME."""
    return (sys.executable, "-I", "-S", __file__, *command) if secrets else command


def main() -> None:
    command = sys.argv[1:]
    if not _trace_next_program():
        sys.stderr.write("no argument can be hidden here: the kernel lets no process trace another (ptrace)\n")
        sys.exit(COMMAND_NOT_RUN)
    try:
        os.execv(command[0], command)  # noqa: S606 - a shell would be in the way
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(COMMAND_NOT_RUN)


def _trace_next_program() -> bool:
    """Whether another process now waits for this one to become another program. It is not a child of this one."""
    reads_tracer, tells_parent = os.pipe()
    reads_parent, tells_tracer = os.pipe()
    traced = os.getpid()
    if (middle := os.fork()) == 0:
        if os.fork() == 0:
            os.write(tells_parent, struct.pack("q", os.getpid()))
            os.read(reads_parent, 1)
            _trace(traced, tells_parent)
        os._exit(0)
    os.waitpid(middle, 0)
    os.close(tells_parent)
    (tracer,) = struct.unpack("q", os.read(reads_tracer, 8))
    _libc.prctl(_PR_SET_PTRACER, tracer, 0, 0, 0)
    os.write(tells_tracer, b"\1")
    return os.read(reads_tracer, 1) == b"\1"  # nothing if it ended without


def _trace(traced: int, tells_parent: int) -> None:
    """Ends the process. If it fails the program gets `$NAME` itself, which it cannot take for a secret."""
    try:
        if _libc.ptrace(_PTRACE_SEIZE, traced, None, _PTRACE_O_TRACEEXEC) == 0:
            os.write(tells_parent, b"\1")
            if _becomes_program(traced):
                _point_to_values(traced)
                _libc.ptrace(_PTRACE_DETACH, traced, None, None)
    finally:
        os._exit(0)


def _becomes_program(traced: int) -> bool:
    while True:
        _, status = os.waitpid(traced, _WALL)
        if not os.WIFSTOPPED(status):
            return False
        if status >> 8 == _AT_EXEC:
            return True
        _libc.ptrace(_PTRACE_CONT, traced, None, os.WSTOPSIG(status))


def _point_to_values(traced: int) -> None:
    directory = Path("/proc") / str(traced)
    fields = (directory / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    arguments = int(fields[_START_STACK]) + _POINTER  # their number comes first
    with (directory / "mem").open("r+b", buffering=0) as memory:
        at_arguments = dict(_pointers(memory, arguments))
        variables = arguments + (len(at_arguments) + 1) * _POINTER
        values = {}
        for _, address in _pointers(memory, variables):
            name = _text(memory, address).partition(b"=")[0]
            values[b"$" + name] = address + len(name) + len(b"=")
        for place, address in at_arguments.items():
            if (value := values.get(_text(memory, address))) is not None:
                memory.seek(place)
                memory.write(struct.pack("P", value))


def _pointers(memory: BinaryIO, place: int) -> Iterator[tuple[int, int]]:
    """Where a pointer lies, and what it points to, up to the null at the end."""
    while True:
        memory.seek(place)
        (address,) = struct.unpack("P", memory.read(_POINTER))
        if not address:
            return
        yield place, address
        place += _POINTER


def _text(memory: BinaryIO, address: int) -> bytes:
    memory.seek(address)
    text = b""
    while b"\0" not in text and (more := memory.read(4096)):
        text += more
    return text.partition(b"\0")[0]


if __name__ == "__main__":
    main()
