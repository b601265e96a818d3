"""Figures for people and for programs: a table, and JSON with all of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from rich.table import Table

from bench import machine
from bench.load.summary import PERCENTS, Distribution, Summary

FORMAT: Final = 1
ABSENT: Final = "-"
CLIENT_IS_BUSY: Final = 0.8  # share of its one core from which the client's own queue shows in the latencies

_Cell = Callable[[Summary], str]


def table(summaries: Sequence[Summary]) -> Table:
    """One column per run. `-` is a figure that the run does not carry: too few samples, or nothing that reports it."""
    view = Table(title_justify="left", box=None, header_style="bold", pad_edge=False)
    view.add_column("")
    for summary in summaries:
        view.add_column(summary.name, justify="right")
    for label, cell in _rows():
        cells = [cell(summary) for summary in summaries]
        if any(text != ABSENT for text in cells):
            view.add_row(label, *cells)
    return view


def remarks(summaries: Sequence[Summary]) -> list[str]:
    """What a reader of the table has to know: failures, and a client that was itself the limit."""
    lines = []
    for summary in summaries:
        lines += [f"{summary.name}: {count} requests failed: {error}" for error, count in summary.errors.items()]
        if summary.succeeded and summary.completion_tokens is None:
            lines.append(f"{summary.name}: the server reports no usage, so tokens are not counted")
        if (summary.client_cpu_share or 0) > CLIENT_IS_BUSY:
            share = f"{summary.client_cpu_share:.0%}"
            lines.append(f"{summary.name}: the client used {share} of a core: its own queue is part of the latencies")
    return lines


def document(summaries: Sequence[Summary], options: Mapping[str, Any]) -> dict[str, Any]:
    """The runs as JSON: times in seconds, the machine and the options by name."""
    runs = [
        dataclasses.asdict(summary) | {"server_cpu_s_per_token": summary.server_cpu_s_per_token}
        for summary in summaries
    ]
    return {**heading(), "options": dict(options), "runs": runs}


def heading() -> dict[str, Any]:
    return {"format": FORMAT, "created": int(time.time()), "machine": machine.describe()}


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n")


def _rows() -> list[tuple[str, _Cell]]:
    rows: list[tuple[str, _Cell]] = [
        ("requests ok / failed", lambda run: f"{run.succeeded} / {run.failed}"),
        ("requests / s", lambda run: number(run.requests_per_s)),
        ("goodput within SLO / s", lambda run: number(run.goodput_per_s)),
        ("output tokens / s", lambda run: number(run.output_tokens_per_s)),
        ("tokens in / out per request", _tokens),
    ]
    for label, pick in _LATENCIES:
        rows += [(f"{label} p{percent} ms", _percentile(pick, percent)) for percent in PERCENTS]
    return [
        *rows,
        ("server CPU us / token", lambda run: number(run.server_cpu_s_per_token, 1e6)),
        ("client CPU share of a core", lambda run: number(run.client_cpu_share)),
    ]


_LATENCIES: Final[Sequence[tuple[str, Callable[[Summary], Distribution]]]] = (
    ("time to first token", lambda run: run.ttft_s),
    ("between tokens (mean of a request)", lambda run: run.itl_s),
    ("between chunks", lambda run: run.gap_s),
    ("end to end", lambda run: run.end_to_end_s),
)


def _percentile(pick: Callable[[Summary], Distribution], percent: int) -> _Cell:
    return lambda run: number(pick(run).percentiles[percent], 1000)


def _tokens(run: Summary) -> str:
    if run.prompt_tokens is None or run.completion_tokens is None:
        return ABSENT
    return f"{run.prompt_tokens / run.succeeded:.0f} / {run.completion_tokens / run.succeeded:.0f}"


def number(value: float | None, scale: float = 1.0) -> str:
    """Three significant digits, and every digit before the point."""
    if value is None:
        return ABSENT
    scaled = value * scale
    return f"{scaled:,.0f}" if abs(scaled) >= 100 else f"{scaled:.3g}"
