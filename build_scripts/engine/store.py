"""Where built engines live, and how one replaces another: whole or not at all.

built/NAME -> .store/NAME-<fingerprint>-*   the link is relative and is swapped in one rename
built/.store/.partial-NAME-*                a build in progress, or what a killed one left
built/.store/NAME.lock, NAME.log            one build of NAME at a time, and its log
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from build_scripts.work.disk import held, remove_unless_held, sync, sync_tree
from triton_repo.contract.errors import BuildError


@dataclass(frozen=True, slots=True)
class EngineStore:
    """The built engine NAME in the directory `built`; every method but `current` and `hold` needs the lock."""

    built: Path
    name: str

    @property
    def link(self) -> Path:
        return self.built / self.name

    @property
    def log(self) -> Path:
        return self._store / f"{self.name}.log"

    @property
    def _store(self) -> Path:
        return self.built / ".store"

    def current(self) -> Path | None:
        """The engine's directory, or None where nothing is built."""
        return self.link.resolve() if self.link.is_dir() else None

    @contextmanager
    def hold(self) -> Iterator[Path]:
        """The engine's directory, which `sweep` leaves alone until the end of the block, whatever is built meanwhile.

        Raises:
            BuildError: nothing is built.
        """
        while (directory := self.current()) is not None:
            with ExitStack() as stack:
                try:
                    stack.enter_context(held(directory))
                except FileNotFoundError:  # replaced and swept in between
                    continue
                yield directory
                return
        raise BuildError(f"{self.link}: no engine is built there")

    @contextmanager
    def lock(self, waiting: Callable[[str], None]) -> Iterator[None]:
        """Keep other builds of the engine out; `waiting` gets the id of the process that holds the lock."""
        self._store.mkdir(parents=True, exist_ok=True)
        with (self._store / f"{self.name}.lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                waiting(file.read().strip())
                fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    @contextmanager
    def partial(self) -> Iterator[Path]:
        """A new directory to build in; gone afterwards unless it was published."""
        directory = Path(tempfile.mkdtemp(prefix=f".partial-{self.name}-", dir=self._store))
        directory.chmod(0o755)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def publish(self, partial: Path, fingerprint: str) -> None:
        """Make `partial` the engine, durably."""
        if self.link.is_dir() and not self.link.is_symlink():
            raise BuildError(f"{self.link}: a directory that was not made by a build; move it away")
        sync_tree(partial)
        unique = partial.name.rpartition("-")[2]  # published directories never move: the link is the only switch
        directory = self._store / f"{self.name}-{fingerprint[:12]}-{unique}"
        partial.replace(directory)
        sync(self._store)
        link = self._store / f"{partial.name}-link"
        link.symlink_to(Path(".store", directory.name))
        link.replace(self.link)
        sync(self.built)

    def sweep(self) -> None:
        """Remove replaced engines that no process holds, and what killed builds left."""
        current = self.link.resolve()
        name = re.escape(self.name)
        ours = re.compile(rf"\.partial-{name}-\w{{8}}(-link)?|{name}-[0-9a-f]{{12}}-\w{{8}}")
        for path in self._store.iterdir():
            if not ours.fullmatch(path.name):
                continue
            if path.is_symlink():
                path.unlink()
            elif path.resolve() != current:
                remove_unless_held(path, path)
