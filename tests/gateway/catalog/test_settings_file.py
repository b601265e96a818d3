"""What an operator's file may have become by the time that it is read again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.settings_file import MAX_BYTES, read_settings_file
from triton_repo.contract.errors import LaunchError


def num_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def write(content: bytes) -> Callable[[Path], Any]:
    return lambda file: file.write_bytes(content)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("é" * (MAX_BYTES // 2), encoding="utf-8")
    assert len(read_settings_file(tmp_path / "keys")) == MAX_BYTES // 2


@pytest.mark.parametrize(
    ("become", "reason"),
    [
        (Path.mkdir, "cannot be read: Is a directory"),
        (os.mkfifo, "cannot be read: it is no regular file"),
        (lambda file: file.symlink_to("/dev/zero"), "cannot be read: it is no regular file"),
        (lambda _: None, "cannot be read: No such file or directory"),
        (write(b"\xff"), "cannot be read: 'utf-8' codec can't decode"),
        (write("é".encode() * MAX_BYTES), f"has more than {MAX_BYTES} bytes"),
    ],
)
def test_what_is_no_text_is_rejected_by_its_name_and_nothing_stays_open(
    tmp_path: Path, become: Callable[[Path], Any], reason: str
) -> None:
    file = tmp_path / "keys"
    become(file)
    before = num_open()
    with pytest.raises(LaunchError) as rejected:
        read_settings_file(file)
    assert str(rejected.value).startswith(f"{file}: {reason}")
    assert num_open() == before
