"""A picture of several runs: how throughput and latency go with the load. Needs the extra `plot` (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any, Final

from bench.load.summary import Summary
from triton_repo.contract.distribution import install_command
from triton_repo.contract.errors import BenchError

SUFFIXES: Final = (".png", ".svg", ".pdf")


def check(file: Path) -> None:
    """Before anything is measured: BenchError if the plot could not be drawn at the end."""
    if file.suffix not in SUFFIXES:
        raise BenchError(f"--plot = {str(file)!r}; must end in {', '.join(SUFFIXES)}")
    if util.find_spec("matplotlib") is None:
        raise BenchError(f"--plot needs matplotlib: {install_command('plot')}")


def draw(file: Path, summaries: Sequence[Summary], title: str) -> None:
    """Tokens a second, time to first token and time between tokens, one point per run."""
    from matplotlib.figure import Figure  # the figure alone: no window, no global state

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    figure.suptitle(title)
    tokens, first, between = figure.subplots(1, 3)
    names = [summary.name for summary in summaries]
    tokens.set_title("output tokens / s")
    first.set_title("time to first token, ms")
    between.set_title("between tokens, ms")
    _line(tokens, names, [summary.output_tokens_per_s for summary in summaries])
    for percent, style in ((50, "-o"), (99, "--o")):
        ttft = [_ms(summary.ttft_s.percentiles[percent]) for summary in summaries]
        itl = [_ms(summary.itl_s.percentiles[percent]) for summary in summaries]
        _line(first, names, ttft, style, label=f"p{percent}")
        _line(between, names, itl, style, label=f"p{percent}")
    for axes in (first, between):
        axes.legend()
    figure.savefig(file)


def _line(axes: Any, names: Sequence[str], values: Sequence[float | None], style: str = "-o", **options: str) -> None:
    known = [(name, value) for name, value in zip(names, values, strict=True) if value is not None]
    axes.plot([name for name, _ in known], [value for _, value in known], style, **options)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
