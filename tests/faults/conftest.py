"""Figures of the faults that were injected, at the end of a run, and no shared memory that is left."""

from __future__ import annotations

import pytest

from tests.faults.reports import LINES
from tests.launch.conftest import free_port
from tests.left_regions import no_regions_left

__all__ = ["free_port", "no_regions_left"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LINES:
        terminalreporter.section("faults")
        for line in LINES:
            terminalreporter.write_line(line)
