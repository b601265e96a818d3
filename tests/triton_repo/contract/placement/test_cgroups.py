from __future__ import annotations

from pathlib import Path

import pytest

from launch.placement import cgroups


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
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert cgroups.memory_bytes(tmp_path, own) == memory
    assert cgroups.cores(tmp_path, own) == cores
