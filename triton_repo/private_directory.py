"""A directory for the time of one run; one that a killed run left behind is removed by the next."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

_LOCK: Final = "in-use"  # locked while the run lives: the kernel unlocks it however that ends


@contextmanager
def private_directory(
    prefix: str, parent: Path | None = None, abandoned: Callable[[Path], None] = lambda _: None
) -> Iterator[Path]:
    """A new one, whose name begins with `prefix`, removed at the end; those of runs that were killed are removed now.

    Args:
        parent: where it is made; the directory for temporary files unless it is given.
        abandoned: is called with one of a run that was killed, before it is removed.
    """
    parent = parent or Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name, _kept_from_cleaners(name):
        new = Path(name, f"{_LOCK}.new")  # until it is locked: another start takes a free lock for a killed run's
        with new.open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new.rename(Path(name, _LOCK))
            _remove_abandoned(prefix, parent, abandoned)
            yield Path(name)


@contextmanager
def _kept_from_cleaners(directory: str) -> Iterator[None]:
    """systemd-tmpfiles, which removes what is old from /tmp, leaves a directory alone that is locked, and all in it."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_SH)
        yield
    finally:
        os.close(opened)


def _remove_abandoned(prefix: str, parent: Path, abandoned: Callable[[Path], None]) -> None:
    """Those in `parent` of this user whose lock nothing holds; `abandoned` is called with each before."""
    for lock in parent.glob(f"{prefix}*/{_LOCK}"):
        with suppress(OSError), lock.open("r+", encoding="utf-8") as file:
            if lock.stat().st_uid == os.getuid() and _is_free(file):
                abandoned(lock.parent)
                shutil.rmtree(lock.parent, ignore_errors=True)


def _is_free(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
