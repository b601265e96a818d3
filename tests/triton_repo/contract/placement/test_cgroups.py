from __future__ import annotations

from pathlib import Path

import pytest

from triton_repo.contract.placement import cgroups


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("files", "own", "memory", "cores"),
    [
        ({"memory.max": "1073741824\n", "cpu.max": "150000 100000\n"}, "0::/\n", 1 << 30, 1.5),
        ({"memory.max": "max\n", "cpu.max": "max 100000\n"}, "0::/\n", None, None),
        ({"a/memory.max": "4096", "a/b/memory.max": "8192", "a/cpu.max": "max 1"}, "0::/a/b", 4096, None),
        ({"memory.max": "4096"}, "0::/of/the/host/alone", 4096, None),
        ({"memory/pod/memory.limit_in_bytes": "4096"}, "4:memory:/pod\n0::/\n", 4096, None),
        ({"memory/memory.limit_in_bytes": str((1 << 63) - 4096)}, "4:memory:/\n", None, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, "1:cpu,cpuacct:/", None, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "1:cpu:/", None, None),
        ({"memory.max": "4096"}, "0::/../../elsewhere\n", 4096, None),
        ({"memory.max": "4096"}, "broken\n", None, None),
        ({}, "", None, None),
    ],
)
def test_limits_of_cgroups_are_read_in_both_versions(
    tmp_path: Path, files: dict[str, str], own: str, memory: int | None, cores: float | None
) -> None:
    write(tmp_path, files)
    assert cgroups.memory_bytes(tmp_path, own) == memory
    assert cgroups.cores(tmp_path, own) == cores


@pytest.mark.parametrize(
    ("names", "directory", "own"),
    [
        (("memory.max", "memory.current", "inactive_file"), "a/b", "0::/a/b"),
        (("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), "memory/b", "4:memory:/b"),
    ],
)
def test_files_that_were_read_leave_the_memory_of_a_cgroup_free(
    tmp_path: Path, names: tuple[str, str, str], directory: str, own: str
) -> None:
    """A checkpoint that was copied or hashed just now fills the cgroup, and the kernel gives it up."""
    most, used, unused_files = names
    write(tmp_path / directory, {most: "64000000\n", used: "60000000\n"})
    assert cgroups.free_memory_bytes(tmp_path, own) == 4_000_000
    write(tmp_path / directory, {"memory.stat": f"anon 10000000\nfile 50000000\n{unused_files} 45000000\n"})
    assert cgroups.free_memory_bytes(tmp_path, own) == 49_000_000
    assert cgroups.free_memory_bytes(tmp_path, "0::/elsewhere") is None
