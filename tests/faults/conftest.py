"""Figures of the faults that were injected, at the end of a run."""

from __future__ import annotations

import pytest

from tests.faults.reports import LINES
from tests.launch.conftest import free_port

__all__ = ["free_port"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LINES:
        terminalreporter.section("faults")
        for line in LINES:
            terminalreporter.write_line(line)
