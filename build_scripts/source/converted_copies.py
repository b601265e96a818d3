"""HuggingFace copies of GGUF and NeMo checkpoints in the user's cache: made once, removed when they are out of date.

~/.cache/conch/converted/NAME-<key>          a copy; the key changes with every file of its source
                         NAME-<key>-small    … without weights, for a plan
                         lock                one writes or sweeps at a time

Each copy has a note of its source, a file that each user of the copy keeps locked. A copy that is out of date (its
source changed, or is gone), or that a larger one has replaced, is removed by the next conversion of any checkpoint; a
build that finds its copy removes none. A source on a disk that is not mounted counts as gone, one that cannot be read
does not.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final

from build_scripts.source.convert import write_view
from build_scripts.source.encoder_modules import module_files
from build_scripts.weights.gguf.parts import part_files
from build_scripts.weights.hf_writer import write_huggingface
from build_scripts.weights.opening import is_to_convert, open_checkpoint
from build_scripts.work import progress
from build_scripts.work.disk import held, remove_unless_held
from triton_repo.contract.errors import BuildError

_FORMAT: Final = 5  # of the copies; a higher one writes them again
_NOTE: Final = "converted_from.txt"
_SMALL: Final = "-small"
_COPY: Final = re.compile(r"(?P<name>.+-(?P<key>[0-9a-f]{16}))(-small)?")
_PARTIAL: Final = ".partial-"  # of hf_writer; under the lock, a directory with it was left by a process that was killed


@contextmanager
def cached_copy(path: Path, source: str, weights: bool) -> Iterator[Path]:
    """The GGUF or NeMo checkpoint at `path` as a HuggingFace directory; without `weights` maybe only its small files.

    No sweep removes the directory before the end of the block.

    Raises:
        BuildError: the checkpoint is broken or of no known kind, or the disk is full.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conch" / "converted"
    with ExitStack() as stack:
        try:
            whole = cache / f"{path.stem}-{_key(path)}"
            small = whole.with_name(whole.name + _SMALL)
            copy = _find(whole, stack) or (None if weights else _find(small, stack))
            copy = copy or _make(path, source, whole if weights else small, stack)
        except OSError as error:
            raise BuildError(f"{error.filename or cache}: {error.strerror or error}") from error
        yield copy


def _find(copy: Path, stack: ExitStack) -> Path | None:
    """The copy, held until `stack` closes; None where there is none, or a sweep was quicker."""
    try:
        stack.enter_context(held(copy / _NOTE))
    except FileNotFoundError:
        return None
    return copy


def _make(path: Path, source: str, copy: Path, stack: ExitStack) -> Path:
    with _locked(copy.parent):
        _sweep(copy.parent)  # before the copy, which may need the room
        if not copy.is_dir():
            view = open_checkpoint(path, source)
            modules = {name: (path / name).read_bytes() for name in module_files(path)}
            view = replace(view, text_files={**view.text_files, **modules, _NOTE: os.fsencode(path.resolve())})
            if copy.name.endswith(_SMALL):
                write_huggingface(replace(view, weights={}), copy)
            elif is_to_convert(path):
                write_view(view, copy)
            else:  # of any architecture: only the format of its files changes
                write_huggingface(view, copy)
        stack.enter_context(held(copy / _NOTE))
        return copy


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"{cache}: waiting for the conversion of another process")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sweep(cache: Path) -> None:
    for path in sorted(cache.iterdir()):
        if path.name.startswith(_PARTIAL):
            shutil.rmtree(path, ignore_errors=True)
        elif (copy := _COPY.fullmatch(path.name)) and path.is_dir():
            try:
                if _is_stale(path, copy["name"], copy["key"]):
                    _remove(path)
            except (
                OSError,
                ValueError,
            ) as error:  # ValueError: a note of zeros, after a crash
                progress.say(f"{path}: left alone: {error}")


def _is_stale(copy: Path, name: str, key: str) -> bool:
    if copy.name != name and copy.with_name(name).is_dir():
        return True
    try:
        return _key(Path(os.fsdecode((copy / _NOTE).read_bytes()))) != key
    except (FileNotFoundError, NotADirectoryError):  # the source; or the note, which copies of earlier formats lack
        return True


def _remove(copy: Path) -> None:
    if copy.is_symlink():
        raise OSError("a link, and what it leads to is not the cache's")
    try:
        remove_unless_held(copy, copy / _NOTE)
    except FileNotFoundError:  # a removal that was cut off
        shutil.rmtree(copy)


def _key(path: Path) -> str:
    """Another one whenever a file of the checkpoint looks different.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read.
    """
    digest = hashlib.sha256(os.fsencode(f"{_FORMAT} {os.path.realpath(path)}"))
    for file in _files(path):
        stat = file.stat()
        digest.update(os.fsencode(f"\0{file.relative_to(path.parent)} {stat.st_size} {stat.st_mtime_ns}"))
    return digest.hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        path.stat()
        return list(part_files(path))

    def fail(error: OSError) -> None:
        raise error  # Path.rglob would take a directory that cannot be read for an empty one

    return sorted(Path(root, name) for root, *names in os.walk(path, onerror=fail) for name in chain(*names))
