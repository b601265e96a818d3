"""The pictures of a sweep: throughput against latency, as SVG. Needs the extra `plot` (matplotlib)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import util
from typing import Any

from bench.sweep.goal import LATENCIES, UNITS, Goal, p99_ms
from bench.sweep.outcome import Outcome
from bench.sweep.winner import front


def can_draw() -> bool:
    return util.find_spec("matplotlib") is not None


def draw(outcomes: Sequence[Outcome], goal: Goal, best: Outcome | None) -> str | None:
    """SVG: the objective against the p99 of each latency, its Pareto front, the SLO; None where no p99 is known."""
    panels = [name for name in LATENCIES if any(p99_ms(outcome, name) is not None for outcome in outcomes)]
    if not panels:
        return None
    import matplotlib as mpl
    from matplotlib.figure import Figure  # the figure alone: no window, no global state

    figure = Figure(figsize=(4.6 * len(panels), 4.2), layout="constrained")
    limits = dict(goal.limits_ms())
    for axes, latency in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.set_title(f"{LATENCIES[latency]}, p99")
        axes.set_xlabel(UNITS[goal.objective])
        axes.set_ylabel("ms")
        _points(axes, outcomes, goal, latency)
        if latency in limits:
            axes.axhline(limits[latency], color="tab:red", linestyle="--", linewidth=1, label="SLO")
        if best is not None and (y := p99_ms(best, latency)) is not None:
            axes.plot([goal.gain(best)], [y], "*", color="tab:orange", markersize=15, clip_on=False, label="winner")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "conch"}):  # the same figures give the same file
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]  # without the XML declaration, as a part of HTML


def _points(axes: Any, outcomes: Sequence[Outcome], goal: Goal, latency: str) -> None:
    for met, colour, name in ((True, "tab:blue", "meets the goal"), (False, "tab:gray", "does not")):
        shown = [outcome for outcome in outcomes if goal.met_by(outcome) is met]
        pairs = [(goal.gain(one), y) for one in shown if (y := p99_ms(one, latency)) is not None]
        if pairs:
            axes.plot([x for x, _ in pairs], [y for _, y in pairs], "o", color=colour, label=name)
    best = front(outcomes, goal, latency)
    axes.plot(
        [goal.gain(one) for one in best],
        [p99_ms(one, latency) for one in best],
        color="tab:blue",
        alpha=0.5,
        label="Pareto front",
    )
