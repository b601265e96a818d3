"""`python -m gateway.metrics.page`: the gateway's series as a table for docs/metrics.md."""

from __future__ import annotations

from gateway.metrics.table import SERIES


def table_of_series() -> str:
    rows = [f"| `{series.exposed}` | {series.kind} | {', '.join(series.labels)} | {series.help} |" for series in SERIES]
    return "\n".join(("| series | kind | labels | what it says |", "|---|---|---|---|", *rows))


if __name__ == "__main__":
    print(table_of_series())  # noqa: T201 - what the command is for
