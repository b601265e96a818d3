"""The steps of a build on the terminal: a spinner with the time on a terminal, one line a step elsewhere."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_METER_S = 0.2  # between two looks at a meter
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


@contextmanager
def transfer(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Like `step`, for work of `total` bytes, if that is known; the function that it yields takes the number done."""
    started, last = time.monotonic(), 0

    def remember(done: int) -> None:
        nonlocal last
        last = done

    if _console.is_terminal:
        words = TextColumn("{task.description}", markup=False)
        columns = (SpinnerColumn(), words, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=_console, transient=True) as progress:
            task = progress.add_task(title, total=total)

            def show(done: int) -> None:
                remember(done)
                progress.update(task, completed=done)

            yield show
    else:
        yield remember
    seconds = max(time.monotonic() - started, 1e-3)
    size = last if total is None else total
    _console.print(f"  {title}  {size / 1e9:.2f} GB in {seconds:.1f} s, {size / 1e6 / seconds:,.0f} MB/s", markup=False)


@contextmanager
def metered(title: str, total: int, meter: Path) -> Iterator[None]:
    """A `transfer` by another process, which keeps the number of bytes done in the file `meter`."""

    def read() -> int:
        text = meter.read_bytes() if meter.is_file() else b""
        return int(text) if text.isdigit() else 0

    try:
        with _watched(title, total, read):
            yield
    finally:
        meter.unlink(missing_ok=True)


@contextmanager
def growing(title: str, directory: Path) -> Iterator[None]:
    """A `transfer` of unknown size by another process, which writes files into `directory`."""
    with _watched(title, None, lambda: _size(directory)):
        yield


@contextmanager
def _watched(title: str, total: int | None, read: Callable[[], int]) -> Iterator[None]:
    """A `transfer` of which `read` knows how many bytes are done; it is asked for them now and then, and at the end."""
    over = threading.Event()

    def watch(show: Callable[[int], None]) -> None:
        while not over.wait(_METER_S):
            show(read())
        show(read())

    with transfer(title, total) as show:
        watcher = threading.Thread(target=watch, args=(show,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def _size(directory: Path) -> int:
    """Bytes of the files in `directory`, which come and go meanwhile."""
    sizes = []
    for root, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                sizes.append(Path(root, name).lstat().st_size)
    return sum(sizes)


@contextmanager
def counted(title: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
    """Like `step`, for `total` pieces of work; the function that it yields takes the number done and the activity."""
    started = time.monotonic()
    if _console.is_terminal:
        words = TextColumn("{task.description}", markup=False)
        count = TextColumn(f"{{task.completed:.0f}} of {{task.total:.0f}} {unit}")
        with Progress(SpinnerColumn(), words, BarColumn(), count, TimeElapsedColumn(), console=_console) as progress:
            task = progress.add_task(title, total=total)
            yield lambda done, doing: progress.update(task, completed=done, description=f"{title}: {doing}")
    else:
        yield lambda _done, _doing: None
    _console.print(f"  {title}  {total} {unit}, {time.monotonic() - started:.1f} s", markup=False)


def say(line: str) -> None:
    _console.print(line, markup=False)
