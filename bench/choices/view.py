"""The results as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.table import Table

from bench.choices.pair import Compared, Result

_COLUMNS: Final = {
    "tokens_per_s": "tokens/s",
    "ttft_ms": "first token, ms",
    "gap_p99_ms": "p99 gap, ms",
    "tokens_per_arrival": "tokens / iteration",
}


def table(results: Sequence[Result]) -> Table:
    """One row per choice and load: usual → other, and the median ratio; of tokens/s also its least and greatest."""
    shown = [name for name in _COLUMNS if any(_changes(result.figures.get(name)) for result in results)]
    view = Table(box=None, header_style="bold", pad_edge=False)
    view.add_column("setting", overflow="fold")
    view.add_column("usual → other")
    view.add_column("load")
    for name in shown:
        view.add_column(_COLUMNS[name], justify="right", no_wrap=True)
    view.add_column("ratio of tokens/s", justify="right", no_wrap=True)
    for result in results:
        sides = f"{result.choice.usual.label} → {result.choice.other.label}"
        cells = [_cell(result.figures.get(name)) for name in shown]
        rate = result.figures["tokens_per_s"]
        spread = f"{rate.ratio:.2f} ({rate.least:.2f}–{rate.greatest:.2f})"
        view.add_row(result.choice.setting, sides, result.load, *cells, spread)
    return view


def _changes(figure: Compared | None) -> bool:
    return figure is not None and (figure.usual, figure.other) != (1.0, 1.0)


def _cell(figure: Compared | None) -> str:
    return "-" if figure is None else f"{_number(figure.usual)} → {_number(figure.other)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
