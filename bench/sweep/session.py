"""One call of `conch sweep`, on a directory that keeps everything it finds.

1. plan.py      checks the options and every point of the grid
2. engines.py   builds what is not built, in the sweep's directory
3. runner.py    measures the points that are not on file (results.py)
4. winner.py    chooses among them (goal.py)
5. report.py    writes the report; the winner's spec lies beside it
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import machine
from bench.report import CLIENT_IS_BUSY
from bench.sweep import report
from bench.sweep.candidate import Candidate
from bench.sweep.display import Display
from bench.sweep.engines import Engines
from bench.sweep.grid import Settings, Value
from bench.sweep.options import SweepOptions
from bench.sweep.outcome import Outcome
from bench.sweep.plan import Sweep, plan_sweep
from bench.sweep.results import Results
from bench.sweep.runner import Runner
from bench.sweep.search import descend
from bench.sweep.spec_text import spec_text
from bench.sweep.winner import winner
from build_scripts.work.disk import write_file
from triton_repo.contract.distribution import install_command


def run_sweep(options: SweepOptions) -> bool:
    """Measure, tell and write. Whether a point meets the goal.

    Raises:
        BenchError, SpecError, BuildError: the sweep cannot start; nothing was measured.
    """
    sweep = plan_sweep(options)
    console = Console(highlight=False, soft_wrap=True)
    described = machine.describe()
    console.print(f"{sweep.name}: {sweep.goal}\n{machine.one_line(described)}", style="dim", markup=False)
    results = Results(sweep.directory / "points")
    engines = Engines(sweep.directory / "engines", sweep.file.parent / "built")
    neighbours = machine.Neighbours()
    with results.lock():
        with Display(console, sweep.goal, _total(sweep)) as display:
            decisive = machine.decisive(described)
            runner = Runner(engines, results, sweep.load, sweep.levels, decisive, sweep.retry_failed, display)
            outcomes = _search(sweep, runner)
        remarks = _remarks(outcomes, neighbours.cores() if display.measured else 0.0)
        best = winner(outcomes, sweep.goal)
        won = sweep.candidate(best.settings) if best else None
        findings = report.Findings(sweep.name, sweep.goal, sweep.load, outcomes, remarks, won.flags if won else ())
        files = report.write(findings, sweep.directory)
        files += _write_winner(sweep, won, report.verdict(findings), engines)
    _tell(console, findings, files)
    return findings.winner is not None


def _total(sweep: Sweep) -> int | None:
    return len(sweep.candidates) * len(sweep.levels) if sweep.start is None else None


def _search(sweep: Sweep, runner: Runner) -> list[Outcome]:
    """The outcomes of the grid, or of what a quick search tried of it."""
    found: dict[tuple[Value, ...], list[Outcome]] = {}

    def best(settings: Settings) -> tuple[float, ...]:
        key = tuple(settings.values())
        if key not in found:
            found[key] = runner.outcomes(sweep.candidate(settings))
        return max(map(sweep.goal.rank, found[key]))

    if sweep.start is None:
        for candidate in sweep.candidates.values():
            best(candidate.settings)
    else:
        descend(sweep.start, sweep.axes, best)
    return [outcome for outcomes in found.values() for outcome in outcomes]


def _write_winner(sweep: Sweep, won: Candidate | None, verdict: str, engines: Engines) -> list[Path]:
    file = sweep.directory / report.WINNER
    file.unlink(missing_ok=True)  # of an earlier call, with another goal
    if won is None:
        return []
    comment = f"Found by `conch sweep` from {sweep.file}.\n{verdict}"
    if won.flags:
        comment += f"\nTo be served with {' '.join(won.flags)}."
    write_file(file, spec_text(won.spec, comment).encode())
    engines.publish(won, sweep.directory / "built")
    return [file]


def _remarks(outcomes: Sequence[Outcome], foreign_cores: float) -> list[str]:
    remarks = []
    shares = [one.measured.summary.client_cpu_share or 0.0 for one in outcomes if one.measured is not None]
    if busy := sum(share > CLIENT_IS_BUSY for share in shares):
        remarks.append(f"At {busy} points the client was busy for most of a core: its own queue is in the latencies.")
    if disturbance := machine.disturbance(foreign_cores):
        remarks.append(f"{disturbance.capitalize()} meanwhile.")
    return remarks


def _tell(console: Console, findings: report.Findings, files: Sequence[Path]) -> None:
    console.print(report.brief_points(findings).rich())
    for remark in findings.remarks:
        console.print(remark, style="yellow", markup=False)
    console.print(report.verdict(findings), style="bold" if findings.winner else "bold red", markup=False)
    if not any(file.name == report.HTML for file in files):
        console.print(f"no picture: that needs matplotlib ({install_command('plot')})", style="dim", markup=False)
    console.print(f"written: {', '.join(map(str, files))}", style="dim", markup=False)
