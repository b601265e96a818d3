"""A child process that answers messages one by one, and ends when one of them takes more than it may.

Messages come from outside, and what they make a library or a template do is bounded by neither: one that takes too much
time or memory, or crashes native code, ends that process, and not the one that serves all clients.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

Answer = Callable[[bytes], Iterable[bytes]]

_LENGTH: Final = struct.Struct("<Q")  # before each message
# With the parent's search path: a Triton stub may find packages where its child's Python would not look.
_PROGRAM: Final = "import sys; sys.path[:] = {path!r}; from triton_repo.bounded_process import serve; serve()"
_PROCESS_CPU_CLOCK: Final = 2  # in the clock id of another process, see clock_getcpuclockid(3)
_NICE: Final = 10


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one answer may take: seconds, of CPU time or of a clock, and memory on top of what is loaded before."""

    limit_s: float
    memory_bytes: int
    cpu_time: bool = True

    def exceeded(self, status: int) -> str | None:
        """Which bound ended a process with this exit status, as the end of a sentence; None if none did."""
        if -status in {signal.SIGPROF, signal.SIGALRM}:
            return f"takes longer than {self.limit_s:g} s" + (" of CPU time" if self.cpu_time else "")
        if -status == signal.SIGUSR1:
            return f"takes more than {self.memory_bytes >> 20} MiB of memory"
        return None


class ProcessEnded(Exception):
    """The process ended instead of answering; `status` is its exit status, negative for a signal."""

    def __init__(self, status: int) -> None:
        super().__init__(f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}")
        self.status = status


class BoundedProcess:
    """Used by one thread at a time."""

    def __init__(self, maker: Callable[..., Answer], bounds: Bounds, *arguments: str) -> None:
        """Start it, and do not wait until it is ready.

        Args:
            maker: a function of a module; in the process `maker(*arguments)` gives the function that answers a message,
                with as many answers as the parent knows of, each of which is sent when it is there.
        """
        job = json.dumps([maker.__module__, maker.__name__, asdict(bounds), arguments])
        command = [sys.executable or "python3", "-c", _PROGRAM.format(path=sys.path), job]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0)
        self._ready = False

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, message: bytes) -> None:
        """Send a message, all answers to the last one having been received. Waits until the process is ready."""
        self._ready = self._ready or _read(_pipe(self._process.stdout)) is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` tells
            _write(_pipe(self._process.stdin), message)

    def answers_within(self, cpu_s: float) -> bool:
        """Whether the answer begins, or the process ends, before once or twice that much of its CPU time is gone."""
        answers = select.poll()
        answers.register(_pipe(self._process.stdout), select.POLLIN)
        since_s = None
        while not answers.poll(1000 * cpu_s):
            since_s = self._cpu_s() if since_s is None else since_s
            if self._cpu_s() - since_s >= cpu_s:
                return False
        return True

    def answer(self) -> bytes:
        """Raises: ProcessEnded: there is none, and there will be none."""
        answer = _read(_pipe(self._process.stdout))
        if answer is None:
            self._close()
            raise ProcessEnded(self._process.returncode)
        return answer

    def give_way(self) -> None:
        """Let everything else on this machine go first, from now on."""
        with contextlib.suppress(OSError):  # it has ended
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICE)

    def kill(self) -> None:
        """Whoever waits for the answer gets `ProcessEnded`. Any thread may call this."""
        self._process.kill()

    def end(self) -> None:
        self.kill()
        self._close()

    def _close(self) -> None:
        with self._process:  # closes the pipes, and waits
            pass

    def _cpu_s(self) -> float:
        try:
            return time.clock_gettime(~self._process.pid << 3 | _PROCESS_CPU_CLOCK)
        except OSError:  # it has ended
            return float("inf")


def serve() -> None:
    """The process itself: it answers until its stdin ends or a message takes too much."""
    module, name, fields, arguments = json.loads(sys.argv[1])
    bounds = Bounds(**fields)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints goes to the log
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, and when that ends, so does stdin
    ending, timer = (signal.SIGPROF, signal.ITIMER_PROF) if bounds.cpu_time else (signal.SIGALRM, signal.ITIMER_REAL)
    for number in (ending, signal.SIGUSR1):  # each ends the process at once, even in native code
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {ending, signal.SIGUSR1})  # a mask is inherited
    answer: Answer = getattr(importlib.import_module(module), name)(*arguments)
    _limit_memory(bounds.memory_bytes)
    _write(answers, b"")  # ready
    messages = os.fdopen(0, "rb", buffering=0)
    while (message := _read(messages)) is not None:
        signal.setitimer(timer, bounds.limit_s)
        try:
            for answered in answer(message):
                signal.setitimer(timer, 0)
                _write(answers, answered)
                signal.setitimer(timer, bounds.limit_s)
        except MemoryError:  # a library may be in any state: a new process is to answer the next message
            signal.raise_signal(signal.SIGUSR1)
        signal.setitimer(timer, 0)


def _limit_memory(additional_bytes: int) -> None:
    """Limits data, not addresses: PyTorch, which XGrammar imports, maps many gigabytes that it never touches."""
    data_bytes = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = data_bytes + additional_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash would write all of it to the disk


def _write(pipe: IO[bytes], message: bytes) -> None:
    rest = memoryview(_LENGTH.pack(len(message)) + message)
    while rest:
        rest = rest[pipe.write(rest) :]


def _read(pipe: IO[bytes]) -> bytes | None:
    head = _read_exactly(pipe, _LENGTH.size)
    return None if head is None else _read_exactly(pipe, _LENGTH.unpack(head)[0])


def _read_exactly(pipe: IO[bytes], length: int) -> bytes | None:
    """None where the pipe ends before."""
    content = pipe.read(length)
    if len(content) == length:  # as a rule
        return content
    pieces = [content]
    while pieces[-1]:
        pieces.append(pipe.read(length - sum(map(len, pieces))))
        if sum(map(len, pieces)) == length:
            return b"".join(pieces)
    return None


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the process has no pipes")
    return pipe
