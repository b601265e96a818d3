"""What a sweep found, for people: the table of its points, what each setting does, the winner and its spec."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import machine
from bench.report import ABSENT, number
from bench.sweep import figure
from bench.sweep.document import Block, Code, Heading, Paragraph, Picture, Sheet, html, markdown
from bench.sweep.goal import LATENCIES, UNITS, Goal, p99_ms, percentile_ms
from bench.sweep.grid import Value, label
from bench.sweep.outcome import Load, Outcome
from bench.sweep.winner import effects, front, nearest, ranked, winner
from build_scripts.work.disk import write_file

MARKDOWN: Final = "report.md"
HTML: Final = "report.html"
PICTURE: Final = "pareto.svg"
WINNER: Final = "winner.toml"
SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Findings:
    """A finished sweep of the engine `name`.

    Attributes:
        remarks: what a reader has to know beside the figures.
        flags: what `conch serve` has to be told for the winner, beside its spec.
    """

    name: str
    goal: Goal
    load: Load
    outcomes: Sequence[Outcome]
    remarks: Sequence[str] = ()
    flags: Sequence[str] = ()

    @property
    def winner(self) -> Outcome | None:
        return winner(self.outcomes, self.goal)


def write(findings: Findings, directory: Path) -> list[Path]:
    """The files of the report; those with a picture only where one can be drawn."""
    svg = figure.draw(findings.outcomes, findings.goal, findings.winner) if figure.can_draw() else None
    picture = [] if svg is None else [Picture(PICTURE, "Throughput against p99 latency", svg)]
    blocks = list(_blocks(findings, directory, picture))
    texts = {MARKDOWN: markdown(blocks)}
    if svg is not None:
        texts |= {PICTURE: f'<?xml version="1.0" encoding="utf-8"?>\n{svg}', HTML: html(_title(findings), blocks)}
    for name in (HTML, PICTURE):
        (directory / name).unlink(missing_ok=True)  # of an earlier report, which had a picture
    for name, text in texts.items():
        write_file(directory / name, text.encode())
    return [directory / name for name in texts]


def verdict(findings: Findings) -> str:
    """One sentence: the winner, or which point comes nearest and what it misses."""
    best, close = findings.winner, nearest(findings.outcomes, findings.goal)
    if best is not None:
        return f"The winner: {told(best, findings.goal)}."
    if close is None or close.measured is None:
        return "No point could be measured."
    failed = close.measured.summary.failed
    missed = [f"{failed} requests failed"] if failed else []
    missed += [str(miss) for miss in findings.goal.misses(close)]
    return f"No point meets the goal. The nearest: {told(close, findings.goal)}; but {', '.join(missed)}."


def told(outcome: Outcome, goal: Goal) -> str:
    """A measured point in one line."""
    figures = [f"{number(goal.gain(outcome))} {UNITS[goal.objective]}"]
    known = {name: p99 for name in LATENCIES if (p99 := p99_ms(outcome, name)) is not None}
    figures += [f"{name} p99 {number(p99)} ms" for name, p99 in known.items()]
    return f"{label(outcome.settings)}, {outcome.concurrency} at a time: {', '.join(figures)}"


def points(findings: Findings) -> Sheet:
    """One row for each point, the best first."""
    goal = findings.goal
    fronts = {latency: front(findings.outcomes, goal, latency) for latency in LATENCIES}
    latencies = [f"{name} {percent}" for name in LATENCIES for percent in ("p50", "p99")]
    header = [*_heads(findings), *latencies, "CPU us/token", "front of"]
    rows = []
    for outcome in ranked(findings.outcomes, goal):
        members = [name for name, front in fronts.items() if outcome in front]
        times = [number(ms) for name in LATENCIES for ms in (percentile_ms(outcome, name, 50), p99_ms(outcome, name))]
        cpu = number(outcome.measured.summary.server_cpu_s_per_token, 1e6) if outcome.measured else ABSENT
        rows.append([*_cells(outcome, goal), *times, cpu, ", ".join(members)])
    return Sheet(header, rows, numbers=1)


def brief_points(findings: Findings) -> Sheet:
    """The same for a terminal: the first `SHOWN` rows, and of the latencies the p99 alone."""
    header = [*_heads(findings), *(f"{name} p99" for name in LATENCIES)]
    rows = [
        [*_cells(outcome, findings.goal), *(number(p99_ms(outcome, name)) for name in LATENCIES)]
        for outcome in ranked(findings.outcomes, findings.goal)[:SHOWN]
    ]
    return Sheet(header, rows, numbers=1)


def _heads(findings: Findings) -> list[str]:
    goodput = ["goodput/s"] if findings.goal.slo else []
    return ["meets", *findings.outcomes[0].settings, "at a time", "tokens/s", *goodput]


def _cells(outcome: Outcome, goal: Goal) -> list[str]:
    tokens = outcome.measured.summary.output_tokens_per_s if outcome.measured else None
    goodput = [number(goal.goodput(outcome) if outcome.measured else None)] if goal.slo else []
    settings = map(_shown, outcome.settings.values())
    return [_meets(outcome, goal), *settings, str(outcome.concurrency), number(tokens), *goodput]


def _meets(outcome: Outcome, goal: Goal) -> str:
    if outcome.measured is None:
        return "failed"
    if goal.met_by(outcome):
        return "yes"
    failed = ["requests failed"] if outcome.measured.summary.failed else []
    return "no: " + ", ".join([*failed, *(miss.latency for miss in goal.misses(outcome))])


def _shown(value: Value) -> str:
    return "default" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _title(findings: Findings) -> str:
    return f"Sweep of {findings.name}"


def _blocks(findings: Findings, directory: Path, picture: Sequence[Picture]) -> Iterator[Block]:
    yield Heading(_title(findings), 1)
    yield Paragraph(verdict(findings))
    if findings.winner is not None:
        yield Code(shlex.join(["conch", "serve", str(directory / WINNER), *findings.flags]))
    yield Paragraph(f"Goal: {findings.goal}. {_load(findings.load)}")
    yield Paragraph(f"{time.strftime('%Y-%m-%d %H:%M %Z')}. {machine.one_line(machine.describe())}.")
    for remark in findings.remarks:
        yield Paragraph(remark)
    yield from picture
    yield Heading("Points")
    yield Paragraph(
        "Those that meet the goal first, by the objective; then the others, by how little they miss it. In ms: ttft,"
        " time to first token; itl, time between tokens, mean of each request; end_to_end, the whole answer."
        " Front of: the latencies at whose p99, or less, no other point has more of the objective."
    )
    yield points(findings)
    yield from _effects(findings)
    yield from _failures(findings)


def _effects(findings: Findings) -> Iterator[Block]:
    goal = findings.goal
    found = effects(findings.outcomes, goal)
    if not found:
        return
    yield Heading("What each setting does")
    yield Paragraph("The best point with each value, whatever the others are.")
    rows = [
        [key, _shown(value), _meets(best, goal), label(best.settings), str(best.concurrency), number(goal.gain(best))]
        for key, by_value in found.items()
        for value, best in by_value.items()
    ]
    yield Sheet(["setting", "value", "meets", "its best point", "at a time", UNITS[goal.objective]], rows, numbers=4)


def _failures(findings: Findings) -> Iterator[Block]:
    reasons = [(outcome, reason) for outcome in findings.outcomes if (reason := _reason(outcome))]
    if reasons:
        yield Heading("What failed")
    for outcome, reason in reasons:
        yield Paragraph(f"{label(outcome.settings)}, {outcome.concurrency} at a time:")
        yield Code(reason)


def _reason(outcome: Outcome) -> str:
    if outcome.measured is None:
        return outcome.failure or ""
    return "\n".join(f"{count} requests: {error}" for error, count in outcome.measured.summary.errors.items())


def _load(load: Load) -> str:
    warmup = "one per client" if load.warmup is None else str(load.warmup)
    until = "" if load.ignore_eos else " at most"
    return (
        f"Each point: {load.requests} requests ({load.api}) after a warm-up of {warmup}, prompts of"
        f" {load.prompt_tokens} tokens, answers of{until} {load.output_tokens}, seed {load.seed}."
    )
