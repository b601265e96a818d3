"""A sweep as a person sees it at work: a bar with what is measured now, and a line for each point that is done."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.sweep.goal import Goal
from bench.sweep.grid import Settings, label
from bench.sweep.outcome import Outcome
from bench.sweep.report import told


class Display:
    """`total` points are expected; None where that is not known."""

    def __init__(self, console: Console, goal: Goal, total: int | None) -> None:
        self.measured = 0  # points that were not on file
        self._console = console
        self._goal = goal
        text = TextColumn("{task.description}", markup=False)
        columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), text)
        self._progress = Progress(
            *columns,
            console=console,
            transient=True,
            disable=not console.is_terminal,
            refresh_per_second=2,  # what is shown takes its CPU from what is measured
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._progress.stop()

    def starting(self, settings: Settings) -> None:
        self._progress.update(self._task, description=f"{label(settings)}: starting the server")

    def measuring(self, settings: Settings, concurrency: int) -> None:
        self._progress.update(self._task, description=f"{label(settings)}: {concurrency} at a time")

    def ended(self, outcome: Outcome, on_file: bool) -> None:
        self.measured += not on_file
        self._progress.advance(self._task)
        line = told(outcome, self._goal) if outcome.failure is None else _failed(outcome)
        self._console.print(line + (" (on file)" if on_file else ""), markup=False)


def _failed(outcome: Outcome) -> str:
    last_line = (outcome.failure or "").rpartition("\n")[2]
    return f"{label(outcome.settings)}, {outcome.concurrency} at a time: failed: {last_line}"
