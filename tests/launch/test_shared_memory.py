from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch.shared_memory import SHM, check_shared_memory, hide_shared_memory, remove_shared_memory
from triton_repo.contract.errors import LaunchError


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    for name in ("conch_a_1", "conch_a_2", "conch_b_1", "psm_x"):
        (tmp_path / name).touch(0o644)
    return tmp_path


def test_only_regions_with_the_prefix_are_removed(regions: Path) -> None:
    remove_shared_memory("conch_a_", regions)
    assert sorted(path.name for path in regions.iterdir()) == ["conch_b_1", "psm_x"]


def test_only_regions_with_the_prefix_are_hidden_from_other_users(regions: Path) -> None:
    hide_shared_memory("conch_a_", regions)
    hidden = [path.name for path in regions.iterdir() if not path.stat().st_mode & 0o077]
    assert sorted(hidden) == ["conch_a_1", "conch_a_2"]


def test_no_prefix_and_no_directory_touch_nothing(regions: Path) -> None:
    remove_shared_memory("", regions)
    remove_shared_memory("conch_a_", regions / "none")
    assert len(list(regions.iterdir())) == 4


def test_shared_memory_must_hold_every_step(tmp_path: Path) -> None:
    check_shared_memory(1, tmp_path)
    free = os.statvfs(tmp_path)
    steps = free.f_bavail * free.f_frsize // 2**26 + 1
    with pytest.raises(
        LaunchError, match=rf"MiB free and {steps} model steps need {steps * 64} MiB: .*--shm-size=\d+g\)$"
    ):
        check_shared_memory(steps, tmp_path)


def test_missing_shared_memory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="none is missing"):
        check_shared_memory(1, tmp_path / "none")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting takes root and unshare")
def test_a_tiny_shared_memory_is_rejected_before_anything_starts() -> None:
    check = (
        "from launch.shared_memory import SHM, check_shared_memory\n"
        "from triton_repo.contract.errors import LaunchError\n"
        "try: check_shared_memory(3)\nexcept LaunchError as error: print(error)"
    )
    mount = 'mount -t tmpfs -o size=8m tmpfs /dev/shm && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, "-c", check]
    tried = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)
    if "denied" in tried.stderr or "not permitted" in tried.stderr:
        pytest.skip("no right to mount here")
    assert tried.stdout == (
        f"{SHM} has 8 MiB free and 3 model steps need 192 MiB:"
        " free some, or give the container more (docker run --shm-size=1g)\n"
    )
