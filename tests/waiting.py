"""Waiting for what other processes do, on a busy machine too."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_S = 480


def wait_for(condition: Callable[[], object], what: Callable[[], str] = str) -> None:
    """
    Raises:
        AssertionError: it did not come true; with the text of `what`.
    """
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)
