"""Regions of shared memory that servers of a test leave in /dev/shm: none may be there when its file has ended."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import psutil
import pytest

from launch.shared_memory import remove_shared_memory
from tests.launch.server import regions

_PREFIX: Final = re.compile(r"shm-region-prefix-name=(\w+)")
_LOOK_S: Final = 1.0
_WAIT_S: Final = 60.0  # for a Triton whose `conch serve` was killed


@pytest.fixture(scope="module", autouse=True)
def no_regions_left() -> Iterator[None]:
    """Of every Triton that has run below this process; others on this machine have regions of their own."""
    seen = set[str]()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK_S):
            seen.update(_running())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()
    gone = seen - _running()
    deadline = time.monotonic() + _WAIT_S
    while (left := [region.name for prefix in gone for region in regions(prefix)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for prefix in gone:
        remove_shared_memory(prefix)
    assert not left, f"left in /dev/shm: {left}"


def _running() -> set[str]:
    """The prefixes of the regions of the Tritons below this process."""
    found = set[str]()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found.update(match[1] for word in process.cmdline() if (match := _PREFIX.search(word)))
    return found
