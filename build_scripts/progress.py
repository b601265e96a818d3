"""The steps of a build as people see them: a spinner with the time on a terminal, one line a step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_console = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show that `title` is at work and, at its end, how long it took."""
    started = time.monotonic()
    if _console.is_terminal:
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=_console, transient=True) as progress:
            progress.add_task(title, total=None)
            yield
    else:
        yield
    _console.print(f"  {title}  {time.monotonic() - started:.1f} s", markup=False)


def say(line: str) -> None:
    _console.print(line, markup=False)
