"""Parses guides with the library that is to enforce them, in a process of its own.

The length of a guide is bounded, the time and memory to parse it are not, and the libraries are native code: a guide
that takes too much of either, or crashes its library, ends that process, and not the engine that serves all clients.
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
# What parsing may take on top of the library itself. A guide has 64 Ki characters: some kilobytes for each are more
# than a normal one needs, and little compared with the memory of a machine that serves an engine.
LIMIT_BYTES: Final = 1 << 30
_MAX_ERROR_LENGTH: Final = 200  # characters
# With the parent's search path: a Triton stub may find packages where its child's Python would not look.
_PROGRAM: Final = "import sys; sys.path[:] = {path!r}; from triton_repo.engine.guides.parser import main; main()"


class GuideParser:
    """Used by one thread. The process starts with the first guide, and again after one that ended it."""

    def __init__(self, backend: str, limit_s: float = LIMIT_S) -> None:
        self.backend = backend
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def error_of(self, kind: str, guide: str) -> str | None:
        """Why the library cannot parse the guide; None if it can.

        Raises:
            EngineFailed: the library is not installed.
        """
        process = self._process = self._process or self._start()
        if process.stdin is None or process.stdout is None:
            raise EngineFailed("guides: their parser has no pipes")
        try:
            process.stdin.write(json.dumps([kind, guide]).encode() + b"\n")
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        return json.loads(answer) if answer else self._exit_reason(process)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._reap(self._process)

    def _start(self) -> subprocess.Popen[bytes]:
        program = _PROGRAM.format(path=sys.path)
        command = [sys.executable or "python3", "-c", program, self.backend, str(self._limit_s)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0)

    def _exit_reason(self, process: subprocess.Popen[bytes]) -> str:
        status = self._reap(process)
        if status >= 0:
            raise EngineFailed(f"guides: {self.backend} could not be started")
        if -status == signal.SIGALRM:
            return f"parsing it takes longer than {self._limit_s:g} s"
        if -status == signal.SIGUSR1:
            return f"parsing it takes more than {LIMIT_BYTES >> 20} MiB of memory"
        return f"parsing it ended by {signal.Signals(-status).name}"

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        self._process = None
        with process:  # closes the pipes, and waits
            pass
        return process.returncode


def main() -> None:
    """The process: one line of JSON in, one out, until its stdin ends or a guide takes too long."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints goes to the log
    backend, limit_s = sys.argv[1:]
    parsers = _PARSERS[backend]()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, and when that ends, so does stdin
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process at once, even in native code
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGUSR1})  # a mask is inherited
    _limit_memory()
    for line in sys.stdin.buffer:
        kind, guide = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, float(limit_s))
        error = _error_of(parsers[kind], guide)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(error).encode() + b"\n")


def _error_of(parse: Callable[[str], Any], guide: str) -> str | None:
    try:
        parse(guide)
    except (RuntimeError, ValueError, TypeError) as error:  # a RecursionError is a RuntimeError
        return str(error).strip().partition("\n")[0][:_MAX_ERROR_LENGTH]
    except MemoryError:  # the library may be in any state: the process ends, and a new one parses the next guide
        signal.raise_signal(signal.SIGUSR1)
    return None


def _limit_memory() -> None:
    """Limits data, not addresses: PyTorch, which XGrammar imports, maps many gigabytes that it never touches."""
    data_bytes = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = data_bytes + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash would write all of it to the disk


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
        def parse(guide: str) -> None:
            if error := LLMatcher.validate_grammar(grammar_of(guide)):
                raise ValueError(error)

        return parse

    return {
        "json_schema": validated(LLMatcher.grammar_from_json_schema),
        "regex": validated(LLMatcher.grammar_from_regex),
        "ebnf_grammar": validated(LLMatcher.grammar_from_lark),  # what TensorRT-LLM passes under this name
    }


_PARSERS: Final[Mapping[str, Callable[[], Mapping[str, Callable[[str], Any]]]]] = {
    "xgrammar": _xgrammar,
    "llguidance": _llguidance,
}
