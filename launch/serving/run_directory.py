"""The private directory of one run of `conch serve`; what a killed run left behind is removed by the next."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launch.descendants import kill_marked
from launch.serving.engines import ServedEngine
from launch.shared_memory import remove_shared_memory
from triton_repo.contract.errors import LaunchError
from triton_repo.private_directory import private_directory

_PREFIX: Final = "conch-"
_MARK_FILE: Final = "mark"
_MARK: Final = re.compile(r"[0-9a-f]{32}")


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
    def adapters(self) -> Path:
        """The shelves of the engines."""
        return self.path / "adapters"

    @property
    def engine_states(self) -> Path:
        return self.path / "engine-states"

    def note_mark(self, mark: str) -> str:
        """The prefix of the names of Triton's regions of shared memory.

        If this run is killed, the next one removes these, and ends the processes that have the mark.

        Args:
            mark: of Triton's processes; 32 hexadecimal digits that no other run has.
        """
        (self.path / _MARK_FILE).write_text(mark, encoding="utf-8")
        return _regions(mark)

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

    def without_blanks(self, repositories: Mapping[str, Path]) -> Mapping[str, Path]:
        """The repositories of models by name; links in this directory to those whose own paths hold blanks."""
        paths = {path: path for path in repositories.values()}
        for number, path in enumerate(paths):
            if len(str(path).split()) > 1:
                paths[path] = self.path / f"other-{number}"
                paths[path].symlink_to(path)
        return {name: paths[path] for name, path in repositories.items()}


@contextmanager
def run_directory() -> Iterator[RunDirectory]:
    """A new one, removed at the end of the run. What killed runs hold, of /dev/shm too, is free in the block.

    Triton gives paths in it to its stubs in a command line that it does not quote.

    Raises:
        LaunchError: there is a blank in its path.
    """
    parent = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    with private_directory(_PREFIX, parent, _end) as path:
        if len(str(path).split()) > 1:
            raise LaunchError(f"{path}: Triton cannot work in a path with blanks; set XDG_RUNTIME_DIR to another")
        directory = RunDirectory(path)
        directory.heartbeats.mkdir()
        yield directory


def _end(run: Path) -> None:
    """Of one that was killed together with its Triton: a stub that waits for a lock of that waits for ever."""
    with suppress(OSError, UnicodeDecodeError):
        mark = (run / _MARK_FILE).read_text(encoding="utf-8")
        if _MARK.fullmatch(mark):
            asyncio.run(kill_marked(mark))
            remove_shared_memory(_regions(mark))


def _regions(mark: str) -> str:
    return f"conch_{mark}_"
