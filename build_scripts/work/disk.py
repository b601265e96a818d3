"""Files and directories that are written whole or not at all, and directories that are locked while they are in use."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from triton_repo.contract.errors import BuildError


@contextmanager
def new_directory(output: Path) -> Iterator[Path]:
    """A directory to write files into, which becomes `output`, durably, at the end of the block.

    Raises:
        BuildError: `output` exists already, or the disk is full. Nothing is left then, nor after any other error.
    """
    output = output.absolute()
    if output.exists() or output.is_symlink():
        raise BuildError(f"{output}: exists already; name a new directory")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".partial-{output.name}-", dir=output.parent))
        try:
            yield partial
            partial.chmod(0o755)
            sync_tree(partial)
            partial.rename(output)
            sync(output.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise BuildError(f"{output}: {error.strerror or error}") from error


def write_file(path: Path, content: bytes) -> None:
    """Replace the file atomically; a file with this content already is not touched."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    sync(temporary)
    temporary.replace(path)


def link_or_copy(file: Path, target: Path) -> None:
    """Make `target` a hard link of `file`, or a copy on another file system, or on one without hard links."""
    try:
        target.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, target)


def sync(path: Path) -> None:
    """Flush the file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Flush the directory and everything in it."""
    for path in directory.rglob("*"):
        sync(path)
    sync(directory)


def check_space(directory: Path, what: str, needed: int) -> None:
    """Raises: BuildError: the disk of `directory` has not `needed` bytes free for `what`."""
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise BuildError(f"{directory}: {what} take {needed:,} bytes; {free:,} are free")


@contextmanager
def locked(directory: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Wait until no other process is in such a block for `directory`, and keep others out until the block ends.

    `on_wait` is called once where there is another.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Keep `remove_unless_held` from removing what `lock` (a file or a directory) stands for, until the block ends.

    Raises:
        FileNotFoundError: it does not exist, or was removed first.
    """
    descriptor = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not os.path.samestat(os.fstat(descriptor), lock.stat()):
            raise FileNotFoundError(lock)
        yield
    finally:
        os.close(descriptor)


def remove_unless_held(directory: Path, lock: Path) -> None:
    """Remove `directory` if no process holds `lock`, which is the directory itself or a file in it.

    Such a file goes first, so that a removal that is cut off leaves a directory without it. The lock is kept meanwhile:
    `held` then waits, and finds that the directory is gone.

    Raises:
        FileNotFoundError: there is no `lock`.
    """
    descriptor = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock != directory:
            lock.unlink()
        shutil.rmtree(directory)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
