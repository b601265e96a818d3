"""A directory that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from triton_repo.contract.errors import BuildError


@contextmanager
def new_directory(output: Path) -> Iterator[Path]:
    """A directory to write files into, which becomes `output`, durably, at the end of the block.

    Raises:
        BuildError: `output` is there already, or the disk is full. Nothing is left then, nor after any other error.
    """
    output = output.absolute()
    if output.exists() or output.is_symlink():
        raise BuildError(f"{output}: is there already; name a directory that is not")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".partial-{output.name}-", dir=output.parent))
        try:
            yield partial
            partial.chmod(0o755)
            for path in (*partial.iterdir(), partial):
                _sync(path)
            partial.rename(output)
            _sync(output.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise BuildError(f"{output}: {error.strerror or error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
