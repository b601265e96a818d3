"""How much memory and CPU time the cgroup of this process allows, in either version of cgroups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self/cgroup")
# Where a limit is, what is used of it, and in `memory.stat` which part of that are files that no process used of late.
_FILES: Final = ("memory.max", "memory.current", "inactive_file")
_FILES_OF_VERSION_1: Final = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_UNLIMITED: Final = 1 << 62  # version 1 has a number of this size where there is no limit


def own_memory_bytes() -> int | None:
    return memory_bytes(ROOT, _text(OWN))


def own_free_memory_bytes() -> int | None:
    return free_memory_bytes(ROOT, _text(OWN))


def own_cores() -> float | None:
    return cores(ROOT, _text(OWN))


def memory_bytes(root: Path, own: str) -> int | None:
    """The smallest limit of this process' cgroup and those above it; None where there is none.

    Args:
        root: where cgroups are mounted: version 2, or a directory for each controller of version 1.
        own: /proc/self/cgroup.
    """
    return min((limit for limit, _ in _limits(root, own)), default=None)


def free_memory_bytes(root: Path, own: str) -> int | None:
    """The least that these limits leave; files that were read, which the kernel gives up for it, count as free."""
    return min((free for _, free in _limits(root, own)), default=None)


def cores(root: Path, own: str) -> float | None:
    """The same of quotas of CPU time: quota by period. Version 2 has both in one file, version 1 in two."""
    found = [_quotient(*_text(directory / "cpu.max").split()) for directory in _directories(root, own, "")]
    for directory in _directories(root / "cpu", own, "cpu"):
        found += [_quotient(*(_text(directory / f"cpu.cfs_{name}_us") for name in ("quota", "period")))]
    return min((quotient for quotient in found if quotient is not None), default=None)


def _limits(root: Path, own: str) -> Iterator[tuple[int, int]]:
    """(bytes, free bytes) of each cgroup whose memory is limited."""
    files = [(directory, _FILES) for directory in _directories(root, own, "")]
    files += [(directory, _FILES_OF_VERSION_1) for directory in _directories(root / "memory", own, "memory")]
    for directory, (most, used, unused_files) in files:
        limit = _number(directory / most)
        if limit is not None and limit < _UNLIMITED:
            lines = map(str.split, _text(directory / "memory.stat").splitlines())
            cached = sum(int(number) for name, number in lines if name == unused_files)
            yield limit, limit - (_number(directory / used) or 0) + cached


def _directories(mount: Path, own: str, controller: str) -> Iterator[Path]:
    """Of the cgroup that `own` names for a controller, up to the mount. (In a container its path may be the host's.)"""
    for line in own.splitlines():
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if path and controller in names.split(","):
            relative = Path(path.lstrip("/"))
            yield from (mount / part for part in (relative, *relative.parents))


def _quotient(quota: str = "", period: str = "") -> float | None:
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
