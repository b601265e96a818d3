"""`python -m bench.overload`: what a server does with more requests than it can answer.

Its capacity is measured first, by so many clients at a time that its engine is always full. Then requests come at 1, 2,
5 and 10 times that rate, however slow the server is, and say how long they wait (`x-request-timeout`). Goodput is what
was answered whole in that time, beside the most that any of the runs reached. At last one key asks 50 times as much as
another.

`--conch` names the command of another checkout, to be measured in the same session. The load is made on the same
machine: what it takes is told, and is missing to the server.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import machine, report
from bench.bars.engines import ENGINES
from bench.bars.finding import Finding, milliseconds, table
from bench.bars.probe import INTERVAL_S
from bench.child_server import ROOT
from bench.load.connection import Target
from bench.load.run import first_model
from bench.load.summary import Distribution, percentile
from bench.overload.offer import Load, offering
from bench.overload.serve import quiet, serving
from bench.overload.verdict import Verdict, judge
from triton_repo.contract.errors import ConchError

MULTIPLES: Final = (1, 2, 5, 10)
NOISE: Final = 50
QUIET_SHARE: Final = 0.08  # of the capacity

_RESULTS: Final = ROOT / "bench" / "results"


class Measurement:
    """All runs on one server."""

    def __init__(self, target: Target, options: argparse.Namespace, console: Console) -> None:
        self._options = options
        self._console = console
        self._target = target
        if options.tell:
            self._target = replace(target, headers=(("x-request-timeout", f"{options.deadline:g}"),))
        self._load = Load(self._target, first_model(target), options.tokens, options.seconds)
        self.findings: list[Finding] = []

    def run(self) -> None:
        capacity, _ = self._measure("capacity", replace(self._load, concurrency=self._options.concurrency))
        self._find("capacity", capacity.goodput, "/ s")
        runs = {}
        for times in self._options.multiples:
            runs[times] = self._measure(f"{times}×", replace(self._load, rate=times * capacity.goodput))
        peak = max(capacity.goodput, *(verdict.goodput for verdict, _ in runs.values()))
        for times, (verdict, health) in runs.items():
            self._judge(f"{times}×", verdict, health, peak)
        if self._options.neighbours:
            self._neighbours(capacity.goodput)

    def _neighbours(self, capacity: float) -> None:
        seconds = 2 * self._options.seconds
        load = replace(self._load, rate=QUIET_SHARE * capacity, target=quiet(self._target), seconds=seconds)
        alone, _ = self._measure("quiet key alone", load)
        noise = replace(self._load, rate=NOISE * QUIET_SHARE * capacity, seconds=seconds)
        beside, _ = self._measure(f"quiet key beside {NOISE}×", load, noise)
        self._find("quiet key: answered, of asked", beside.served / beside.offered, "", "≥", 1.0)
        for what, before, after in (
            ("time to first token", alone.ttft_s, beside.ttft_s),
            ("whole answer", alone.end_to_end_s, beside.end_to_end_s),
        ):
            low, high = percentile(before, 95), percentile(after, 95)
            ratio = None if low is None or high is None else high / low
            self._find(f"quiet key: p95 of {what}, beside over alone", ratio, "", "≤", 2.0, alone_s=low, beside_s=high)

    def _measure(self, name: str, *loads: Load) -> tuple[Verdict, Distribution]:
        """The verdict on the first load, and how long health checks took meanwhile."""
        with offering(*loads) as offered:
            health = _health_s(self._target, loads[0].seconds)
            results = [one.result() for one in offered]
        first = results[0]
        verdict = judge(first.records, first.start_s, first.seconds, self._options.deadline)
        client = sum(result.client_cpu for result in results)
        rejected = len(verdict.rejection_s)
        self._console.print(
            f"{name}: {verdict.offered} asked, {verdict.served} answered, {rejected} rejected, {verdict.expired} "
            f"expired, {verdict.late} late, {verdict.errors} others; the load took {client:.0%} of a core",
            style="dim",
            highlight=False,
        )
        time.sleep(self._options.pause)
        return verdict, health

    def _judge(self, name: str, verdict: Verdict, health: Distribution, peak: float) -> None:
        is_more = name != "1×"  # than can be answered
        share, rejected_ms = (0.9, 100.0) if is_more else (None, None)
        self._find(f"{name}: goodput, of the peak", verdict.goodput / peak, "", "≥", share, per_s=verdict.goodput)
        rejection = Distribution.of(verdict.rejection_s)
        self._find(f"{name}: rejection, p50", milliseconds(rejection.percentiles[50]), "ms")
        self._find(f"{name}: rejection, p99", milliseconds(rejection.percentiles[99]), "ms", "≤", rejected_ms)
        self._find(f"{name}: requests past their deadline", verdict.late, "", "≤", 0)
        self._find(f"{name}: /health/live, p99", milliseconds(health.percentiles[99]), "ms", "≤", 100.0)

    def _find(
        self,
        what: str,
        measured: float | None,
        unit: str,
        side: str = "≤",
        target: float | None = None,
        **details: object,
    ) -> None:
        bar = len({finding.what.partition(":")[0] for finding in self.findings} | {what.partition(":")[0]})
        self.findings.append(Finding(bar, what, measured, unit, side, target, details))  # type: ignore[arg-type]


def _health_s(target: Target, seconds: float) -> Distribution:
    """Of requests every `INTERVAL_S`, from a process of their own, which this waits for."""
    argv = [sys.executable, "-m", "bench.bars.probe", target.host, str(target.port), str(seconds - INTERVAL_S)]
    probe = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, check=True, encoding="utf-8")
    return Distribution.of(map(float, probe.stdout.split()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench.overload", description="Measure what overload does to a server.")
    parser.add_argument("engine", nargs="?", default="demo", help="name or spec; `paced` is one that no load slows")
    parser.add_argument("--conch", type=Path, default=Path(sys.executable).parent / "conch", help="command that serves")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a run")
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds that a client waits")
    parser.add_argument("--concurrency", type=int, default=24, help="clients that fill the engine")
    parser.add_argument("--multiples", type=int, nargs="+", default=MULTIPLES, help="of the capacity")
    parser.add_argument("--pause", type=float, default=10.0, help="seconds between two runs")
    parser.add_argument("--silent", dest="tell", action="store_false", help="do not tell the server how long one waits")
    parser.add_argument("--no-neighbours", dest="neighbours", action="store_false", help="leave out the two keys")
    parser.add_argument("--json", type=Path, help="where the figures go (default: bench/results/)")
    return parser


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    console = Console()
    heading = report.heading()
    console.print(machine.one_line(heading["machine"]), style="dim", soft_wrap=True, highlight=False)
    engine = str(ENGINES / "small-batch.toml") if options.engine == "paced" else options.engine
    neighbours = machine.Neighbours()
    try:
        with serving(options.conch, engine) as target:
            measurement = Measurement(target, options, console)
            measurement.run()
    except ConchError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    console.print(table(measurement.findings))
    if disturbance := machine.disturbance(neighbours.cores()):
        console.print(disturbance, style="yellow")
    file = options.json or _RESULTS / f"overload-{time.strftime('%Y%m%d-%H%M%S')}.json"
    report.write_json(file, {**heading, "findings": [finding.to_json() for finding in measurement.findings]})
    console.print(f"written to {file}", style="dim", soft_wrap=True, highlight=False)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers under test are stopped
    sys.exit(main(sys.argv[1:]))
