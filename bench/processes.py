"""CPU time and memory of the processes under test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psutil

from triton_repo.contract.errors import BenchError


class ProcessTrees:
    """Some processes with all their descendants. A tick of the kernel's clock (10 ms) per process is the resolution.

    Children that end between two readings drop out with their CPU time, so read while the servers are up.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        try:
            self._roots = [psutil.Process(pid) for pid in pids]
        except psutil.NoSuchProcess as error:
            raise BenchError(f"--cpu-of = {error.pid}; there is no such process") from error

    def cpu_s(self) -> float:
        """CPU seconds, user and system, that the processes which live now have used."""
        return sum(_cpu_s(process) for process in self._members())

    def cpu_by_name_s(self) -> dict[str, float]:
        """The same, by what each process is."""
        usage: dict[str, float] = {}
        for process in self._members():
            name = _role(process)
            usage[name] = usage.get(name, 0.0) + _cpu_s(process)
        return usage

    def find(self, word: str) -> int:
        """Id of the process that has `word` among its arguments."""
        for process in self._members():
            if word in _arguments(process):
                return int(process.pid)
        raise BenchError(f"no process under test has the argument {word!r}")

    def _members(self) -> Iterable[psutil.Process]:
        for root in self._roots:
            yield root
            yield from root.children(recursive=True)


def private_bytes(pid: int) -> int:
    """Memory that would be freed if the process ended (USS): shared libraries do not count."""
    return int(psutil.Process(pid).memory_full_info().uss)


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:  # it has just ended
        return []


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _role(process: psutil.Process) -> str:
    """The process's name; for a stub of Triton's Python backend, the step of the ensemble that it runs."""
    arguments = process.cmdline()
    if "gateway" in arguments:
        return "gateway"
    for argument in arguments:
        for step in ("preprocess", "engine", "detokenize"):
            if f"_{step}/" in argument:
                return step
    return str(process.name())
