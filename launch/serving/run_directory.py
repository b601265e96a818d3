"""The private directory of one run of `conch serve`; one that a killed run left behind is removed by the next."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from launch.serving.engines import ServedEngine
from triton_repo.contract.errors import LaunchError

_PREFIX: Final = "conch-"
_LOCK: Final = "in-use"  # locked while the run lives: the kernel unlocks it however that ends


@dataclass(frozen=True, slots=True)
class RunDirectory:
    path: Path

    @property
    def heartbeats(self) -> Path:
        return self.path / "heartbeats"

    @property
    def orders(self) -> Path:
        """A socket."""
        return self.path / "orders"

    @property
    def engine_states(self) -> Path:
        return self.path / "engine-states"

    @contextmanager
    def hold_repositories(self, engines: Sequence[ServedEngine]) -> Iterator[Mapping[str, Path]]:
        """The engines' model repositories by name, held.

        They are links in this directory: their own paths may hold blanks.
        """
        links = {engine.name: self.path / "repositories" / engine.name for engine in engines}
        (self.path / "repositories").mkdir()
        with ExitStack() as held:
            for engine in engines:
                links[engine.name].symlink_to(held.enter_context(engine.hold()))
            yield links


@contextmanager
def run_directory() -> Iterator[RunDirectory]:
    """A new one, removed at the end of the run.

    Triton gives paths in it to its stubs in a command line that it does not quote.

    Raises:
        LaunchError: there is a blank in its path.
    """
    parent = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as name:
        if len(name.split()) > 1:
            raise LaunchError(f"{name}: Triton cannot work in a path with blanks; set XDG_RUNTIME_DIR to another")
        directory = RunDirectory(Path(name))
        directory.heartbeats.mkdir()
        new = directory.path / f"{_LOCK}.new"  # until it is locked: another start takes a free lock for a killed run's
        with new.open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new.rename(directory.path / _LOCK)
            _remove_abandoned(parent)
            yield directory


def _remove_abandoned(parent: Path) -> None:
    """Remove the directories of runs that were killed: those of this user whose lock nothing holds."""
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), lock.open("r+", encoding="utf-8") as file:
            if lock.stat().st_uid == os.getuid() and _is_free(file):
                shutil.rmtree(lock.parent, ignore_errors=True)


def _is_free(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
