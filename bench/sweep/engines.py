"""The engines that a sweep serves: built in its own directory, once for all candidates that share one."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bench.server import build
from bench.sweep.candidate import Candidate
from bench.sweep.spec_text import spec_text
from build_scripts.engine.manifest import Manifest
from build_scripts.engine.store import EngineStore
from build_scripts.work.disk import write_file
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import BuildError


@dataclass(frozen=True, slots=True)
class Engines:
    """`directory`/ENGINE/SPEC.toml, and its engine built/NAME; `own` is where a person's are built."""

    directory: Path
    own: Path

    def prepare(self, candidate: Candidate) -> Path:
        """The candidate's spec file, its engine up to date. BenchError if that cannot be built."""
        text = spec_text(candidate.spec)
        file = self._home(candidate) / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.toml"
        write_file(file, text.encode())
        if not adopt(self.own, file.parent / "built", candidate):
            build(str(file.absolute()))
        return file.absolute()

    def publish(self, candidate: Candidate, built: Path) -> None:
        """Let the candidate's engine stand in `built` too, if it has one."""
        adopt(self._home(candidate) / "built", built, candidate)

    def _home(self, candidate: Candidate) -> Path:
        return self.directory / candidate.engine[:12]


def adopt(source: Path, built: Path, candidate: Candidate) -> bool:
    """Whether `built` now holds the candidate's engine; taken over from `source` by hard links if it has the same.

    Nothing of the source is shared that could change: files of an engine are replaced, never written to.
    """
    store = EngineStore(built, candidate.spec.name)
    if _is_current(store, candidate.engine):
        return True
    theirs = EngineStore(source, candidate.spec.name)
    directory = theirs.current()
    if directory is None or not _is_current(theirs, candidate.engine):
        return False
    with store.lock(lambda _: None):
        try:
            with store.partial() as partial:
                shutil.copytree(directory, partial, copy_function=_link, dirs_exist_ok=True)
                store.publish(partial, candidate.engine)
        except OSError:  # replaced by a new build meanwhile; one can always build
            return False
        store.sweep()
    return True


def _is_current(store: EngineStore, engine: str) -> bool:
    current = store.current()
    if current is None:
        return False
    directory = EngineDirectory(current)
    try:
        manifest = Manifest.load(directory)
    except BuildError:  # of another version
        return False
    return manifest.inputs.fingerprint == engine and not manifest.damage(directory)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or none that knows links
        shutil.copy2(source, target)
    return target
