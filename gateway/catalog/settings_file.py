"""The text of a file of an operator's, which may have become anything by the time that it is read again."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from triton_repo.contract.errors import LaunchError

MAX_BYTES: Final = 2**20


def read_settings_file(file: Path) -> str:
    """
    Raises:
        LaunchError: it cannot be read, is no regular file (a pipe would be waited for without an end), is larger than
            MAX_BYTES, or is not UTF-8.
    """
    try:
        with open(file, "rb", opener=_without_waiting) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise LaunchError(f"{file}: cannot be read: it is no regular file")
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise LaunchError(f"{file}: has more than {MAX_BYTES} bytes")
        return content.decode("utf-8")
    except OSError as error:
        raise LaunchError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LaunchError(f"{file}: cannot be read: {error}") from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
