"""Reads guides by the library that is to enforce them, in a process of its own.

A guide is bounded in length, its reading is not in time or memory, and the libraries are native code: a guide that
takes too much of either, or brings its library down, ends that process, and not the engine that serves everybody else.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from triton_repo.contract.errors import EngineFailed

LIMIT_S: Final = 2.0
# What reading may take beyond what the library itself has taken. A guide has 64 Ki characters: some kilobytes for each
# are more than an honest one needs, and little beside the memory of a machine that serves an engine.
LIMIT_BYTES: Final = 1 << 30
_MAX_COMPLAINT: Final = 200  # characters
# The search path is the parent's: a Triton stub finds what is installed for it, wherever the child's Python would look.
_PROGRAM: Final = "import sys; sys.path[:] = {path!r}; from triton_repo.engine.guides.reader import main; main()"


class GuideReader:
    """One thread calls it. The process starts with the first guide, and anew after one that ended it."""

    def __init__(self, backend: str, limit_s: float = LIMIT_S) -> None:
        self.backend = backend
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def complaint(self, kind: str, guide: str) -> str | None:
        """Why the library cannot read the guide; None if it can.

        Raises:
            EngineFailed: the library itself is not there.
        """
        process = self._process = self._process or self._start()
        if process.stdin is None or process.stdout is None:
            raise EngineFailed("guides: their reader has no pipes")
        try:
            process.stdin.write(json.dumps([kind, guide]).encode() + b"\n")
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        return json.loads(answer) if answer else self._obituary(process)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._bury(self._process)

    def _start(self) -> subprocess.Popen[bytes]:
        program = _PROGRAM.format(path=sys.path)
        command = [sys.executable or "python3", "-c", program, self.backend, str(self._limit_s)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0)

    def _obituary(self, process: subprocess.Popen[bytes]) -> str:
        status = self._bury(process)
        if status >= 0:
            raise EngineFailed(f"guides: {self.backend} could not be started")
        if -status == signal.SIGALRM:
            return f"its reading takes longer than {self._limit_s:g} s"
        if -status == signal.SIGUSR1:
            return f"its reading takes more than {LIMIT_BYTES >> 20} MiB of memory"
        return f"its reading ended by {signal.Signals(-status).name}"

    def _bury(self, process: subprocess.Popen[bytes]) -> int:
        self._process = None
        with process:  # closes the pipes, and waits
            pass
        return process.returncode


def main() -> None:
    """The process: one line of JSON in, one out. It lives until its stdin ends, or a guide takes too long."""
    report = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints goes to the log
    backend, limit_s = sys.argv[1:]
    readers = _READERS[backend]()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the server, whose end is the end of stdin
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process at once, also inside of native code
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGUSR1})  # a mask is inherited
    _limit_memory()
    for line in sys.stdin.buffer:
        kind, guide = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, float(limit_s))
        complaint = _complaint(readers[kind], guide)
        signal.setitimer(signal.ITIMER_REAL, 0)
        report.write(json.dumps(complaint).encode() + b"\n")


def _complaint(read: Callable[[str], Any], guide: str) -> str | None:
    try:
        read(guide)
    except (RuntimeError, ValueError, TypeError) as error:  # a RecursionError is a RuntimeError
        return str(error).strip().partition("\n")[0][:_MAX_COMPLAINT]
    except MemoryError:  # what is left of a library after that is not trusted with the next guide
        signal.raise_signal(signal.SIGUSR1)
    return None


def _limit_memory() -> None:
    """Of data and not of addresses, of which PyTorch, which XGrammar brings along, maps many gigabytes to no cost."""
    data_bytes = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = data_bytes + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash would leave all of it on the disk


def _xgrammar() -> Mapping[str, Callable[[str], Any]]:
    from xgrammar import Grammar

    return {
        "json_schema": Grammar.from_json_schema,
        "regex": Grammar.from_regex,
        "ebnf_grammar": Grammar.from_ebnf,
        "structural_tag": Grammar.from_structural_tag,
    }


def _llguidance() -> Mapping[str, Callable[[str], Any]]:
    from llguidance import LLMatcher

    def validated(grammar_of: Callable[[str], str]) -> Callable[[str], None]:
        def read(guide: str) -> None:
            if complaint := LLMatcher.validate_grammar(grammar_of(guide)):
                raise ValueError(complaint)

        return read

    return {
        "json_schema": validated(LLMatcher.grammar_from_json_schema),
        "regex": validated(LLMatcher.grammar_from_regex),
        "ebnf_grammar": validated(LLMatcher.grammar_from_lark),  # what TensorRT-LLM hands over under this name
    }


_READERS: Final[Mapping[str, Callable[[], Mapping[str, Callable[[str], Any]]]]] = {
    "xgrammar": _xgrammar,
    "llguidance": _llguidance,
}
