"""Steps of builds in processes that are forked when torch and transformers have been imported: four seconds less each.

All else is as in `Child`, whose own way to start a process is shown by the tests that ask for `cold_steps`, and by all
that run `conch build`.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

from build_scripts.work.child import _ENVIRONMENT, Child, _death, main

_PROCESSES = multiprocessing.get_context("forkserver")
START_COLD = Child._run


def preload() -> None:
    """Start the process that is forked, which imports what steps need."""
    _PROCESSES.set_forkserver_preload(["tests.build_scripts.warm_imports"])
    forkserver.ensure_running()


def start_warm(child: Child, command: list[str]) -> str | None:
    """What `Child._run` does: run the step of `command` to its end; returns why it failed."""
    alive, stdin = _pipe()
    stdout, report = _pipe()
    environment = {**os.environ, **_ENVIRONMENT}
    process = _PROCESSES.Process(target=_work, args=(command[-1], child.log, (alive, report), environment, Path.cwd()))
    process.start()
    alive.close()
    report.close()
    process.join(child.timeout_s)
    if process.is_alive():
        process.kill()
        process.join()
        return f"took longer than {child.timeout_s:g} s"
    with stdin, stdout:
        problem = os.read(stdout.fileno(), 1 << 16).decode(errors="replace")
    assert process.exitcode is not None
    return None if process.exitcode == 0 else problem or _death(process.exitcode)


def _work(job: str, log: Path, pipes: Sequence[Connection], environment: dict[str, str], directory: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    descriptors = (*(pipe.fileno() for pipe in pipes), os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    for descriptor, standard in zip(descriptors, (0, 1, 2), strict=True):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    sys.argv = ["-c", job]
    main()


def _pipe() -> tuple[Connection, Connection]:
    return multiprocessing.Pipe(duplex=False)
