"""What a bar found: a figure beside the one that it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.table import Table

Side = Literal["≤", "≥"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`measured` None is a figure that could not be had; `target` None is one that is only told.

    `details` go into the JSON file: whatever the figure was made from.
    """

    bar: int
    what: str
    measured: float | None
    unit: str = ""
    side: Side = "≤"
    target: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """None where there is no target."""
        if self.target is None:
            return None
        if self.measured is None:
            return False
        return self.measured <= self.target if self.side == "≤" else self.measured >= self.target

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in (*self.__slots__, "met")}


def table(findings: Sequence[Finding]) -> Table:
    view = Table(box=None, header_style="bold", pad_edge=False)
    for name, justify in (("bar", "right"), ("", "left"), ("measured", "right"), ("target", "right"), ("met", "left")):
        view.add_column(name, justify=justify)  # type: ignore[arg-type]
    for finding in findings:
        target = "" if finding.target is None else f"{finding.side} {finding.target:g} {finding.unit}".rstrip()
        style = "" if finding.met is None else "green" if finding.met else "red"
        met = {None: "", True: "yes", False: "no"}[finding.met]
        measured = "-" if finding.measured is None else f"{_rounded(finding.measured)} {finding.unit}".rstrip()
        view.add_row(str(finding.bar), finding.what, measured, target, met, style=style)
    return view


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
