"""The regions in /dev/shm through which Triton and its Python models pass tensors, found by their names' prefix."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from triton_repo.contract.errors import LaunchError

SHM = Path("/dev/shm")  # noqa: S108 - where Triton puts its regions
MIB = 2**20
SHM_PER_STEP = 64 * MIB  # a Python model starts with 1 MiB and grows with its largest requests


def check_shared_memory(steps: int, directory: Path = SHM) -> None:
    """LaunchError unless `directory` has room for the messages of `steps` Python models."""
    if not directory.is_dir():
        raise LaunchError(f"{directory} is missing: Triton's Python models pass their tensors through it")
    stat = os.statvfs(directory)
    free, needed = stat.f_bavail * stat.f_frsize, steps * SHM_PER_STEP
    if free < needed:
        raise LaunchError(
            f"{directory} has {free // MIB} MiB free and {steps} model steps need {needed // MIB} MiB:"
            f" free some, or give the container more (docker run --shm-size={_round_up(needed)})"
        )


def _round_up(size: int) -> str:
    return f"{-(-size // 2**30)}g"


def hide_shared_memory(prefix: str, directory: Path = SHM) -> None:
    """Let only this user read the regions: prompts pass through them, and Triton makes them readable for everyone."""
    for region in _regions(prefix, directory):
        with suppress(FileNotFoundError):
            region.chmod(0o600)


def remove_shared_memory(prefix: str, directory: Path = SHM) -> None:
    for region in _regions(prefix, directory):
        region.unlink(missing_ok=True)


def remove_regions(names: Iterable[str], directory: Path = SHM) -> None:
    for name in names:
        (directory / name).unlink(missing_ok=True)


def _regions(prefix: str, directory: Path) -> Iterator[Path]:
    """None for an empty prefix, which would match the regions of all programs."""
    if prefix and directory.is_dir():
        yield from [entry for entry in directory.iterdir() if entry.name.startswith(prefix)]
