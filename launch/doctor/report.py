"""The findings as a table for people, or as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.text import Text

from launch.doctor.finding import Finding, Severity

_MARKS: Final[dict[Severity, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "warning": ("warn", "yellow"),
    "error": ("ERROR", "red"),
}


def as_json(findings: Sequence[Finding]) -> str:
    return json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False)


def print_table(findings: Sequence[Finding], console: Console) -> None:
    for finding in findings:
        mark, style = _MARKS[finding.severity]
        line = Text(f"{mark:>7}  ", style=style)
        line.append(f"{finding.what:<20} {finding.found}", style="default")
        console.print(line, soft_wrap=True, highlight=False)
        if finding.todo:
            console.print(Text(f"{'':30}→ {finding.todo}", style=style), soft_wrap=True, highlight=False)
