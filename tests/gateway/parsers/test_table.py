"""The documentation lists the families of parsers as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gateway.parsers.table import reasoning_table, tool_table
from tests.layout import ROOT

API: Final = Path(ROOT, "docs", "api.md")


def test_the_documentation_lists_every_family() -> None:
    page = API.read_text(encoding="utf-8")
    assert tool_table() in page
    assert reasoning_table() in page
