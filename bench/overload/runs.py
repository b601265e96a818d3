"""All runs on one server, and what they found."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from rich.console import Console

from bench.bars.finding import Finding, Side, milliseconds
from bench.bars.probe import INTERVAL_S
from bench.child_server import ROOT
from bench.load.connection import Target
from bench.load.run import first_model
from bench.load.summary import Distribution, percentile
from bench.overload.offer import Load, offering
from bench.overload.serve import Serving, quiet
from bench.overload.verdict import Verdict, judge

NOISE: Final = 50
QUIET_SHARE: Final = 0.08  # of the capacity


@dataclass(frozen=True, slots=True)
class Run:
    """What one load came to, and, in seconds, how long health checks and, in the gateway, rejections took meanwhile.

    `all_goodput` is that of the loads beside it too.
    """

    verdict: Verdict
    health_s: Sequence[float]
    rejections_inside_s: Sequence[float]
    all_goodput: float


@dataclass(frozen=True, slots=True)
class Runs:
    """Those at one rate, one of each round."""

    name: str
    runs: Sequence[Run]

    @property
    def goodput(self) -> float:
        return sum(run.verdict.goodput for run in self.runs) / len(self.runs)

    @property
    def rejection(self) -> Distribution:
        return Distribution.of(took_s for run in self.runs for took_s in run.verdict.rejection_s)

    @property
    def rejection_inside(self) -> Distribution:
        return Distribution.of(took_s for run in self.runs for took_s in run.rejections_inside_s)

    @property
    def client_lag(self) -> Distribution:
        return Distribution.of(lag_s for run in self.runs for lag_s in run.verdict.client_lag_s)

    @property
    def health(self) -> Distribution:
        return Distribution.of(took_s for run in self.runs for took_s in run.health_s)

    @property
    def num_late(self) -> int:
        return sum(run.verdict.late for run in self.runs)


class Measurement:
    """`run` measures, into `findings`."""

    def __init__(self, server: Serving, options: argparse.Namespace, console: Console) -> None:
        self._options = options
        self._console = console
        self._server = server
        self._target = server.target
        if options.tell:
            self._target = replace(self._target, headers=(("x-request-timeout", f"{options.deadline:g}"),))
        self._load = Load(self._target, first_model(self._target), options.tokens, options.seconds)
        self.findings: list[Finding] = []

    def run(self) -> None:
        closed = replace(self._load, concurrency=self._options.concurrency)
        self._measure("warm-up", closed)
        capacity = self._measure("capacity", closed).verdict.goodput
        self._find("capacity", capacity, "/ s")
        rounds = [self._round(capacity, turned=bool(number % 2)) for number in range(self._options.rounds)]
        rates = [Runs(f"{times}×", [one[times] for one in rounds]) for times in self._multiples]
        peak = max(capacity, *(runs.goodput for runs in rates))
        best = max(capacity, *(run.verdict.goodput for runs in rates for run in runs.runs))
        for runs in rates:
            self._judge(runs, peak, best)
        if self._options.neighbours:
            self._neighbours(capacity)

    def _round(self, capacity: float, *, turned: bool) -> dict[int, Run]:
        """A run at each multiple; every other round begins with the last, should the machine become slower."""
        multiples = self._multiples[::-1] if turned else self._multiples
        return {times: self._measure(f"{times}×", replace(self._load, rate=times * capacity)) for times in multiples}

    @property
    def _multiples(self) -> Sequence[int]:
        multiples: Sequence[int] = self._options.multiples
        return multiples

    def _neighbours(self, capacity: float) -> None:
        seconds = 2 * self._options.seconds
        load = replace(self._load, rate=QUIET_SHARE * capacity, target=quiet(self._target), seconds=seconds)
        alone = self._measure("quiet key alone", load).verdict
        noise = replace(self._load, rate=NOISE * QUIET_SHARE * capacity, seconds=seconds)
        mixed = self._measure(f"quiet key beside {NOISE}×", load, noise)
        beside = mixed.verdict
        full = replace(load, rate=None, concurrency=self._options.batch, seconds=self._options.seconds)
        own = self._measure("a batch full of the quiet key's own", full).verdict
        self._find("quiet key: answered, of asked", beside.served / beside.offered, "", "≥", 1.0)
        self._find("quiet key: answers to both keys", mixed.all_goodput, "/ s")
        for what, of in (("time to first token", attrgetter("ttft_s")), ("whole answer", attrgetter("end_to_end_s"))):
            alone_s, beside_s, own_s = (percentile(of(verdict), 95) for verdict in (alone, beside, own))
            details = {"alone_s": alone_s, "beside_s": beside_s, "own_s": own_s}
            self._find(
                f"quiet key: p95 of {what}, beside over alone", _ratio(beside_s, alone_s), "", "≤", 2.0, **details
            )
            self._find(f"quiet key: p95 of {what}, in a batch of its own over alone", _ratio(own_s, alone_s))

    def _measure(self, name: str, *loads: Load) -> Run:
        """The verdict on the first load."""
        said = self._server.num_said
        with offering(*loads) as offered:
            health_s = _health_s(self._target, loads[0].seconds)
            results = [one.result() for one in offered]
        deadline_s = self._options.deadline
        verdict, *others = (judge(one.records, one.start_s, one.seconds, deadline_s) for one in results)
        client = sum(result.client_cpu for result in results)
        rejected = len(verdict.rejection_s)
        self._console.print(
            f"{name}: {verdict.offered} asked, {verdict.served} answered, {rejected} rejected, {verdict.expired} "
            f"expired, {verdict.late} late, {verdict.errors} others; the load took {client:.0%} of a core",
            style="dim",
            highlight=False,
        )
        time.sleep(self._options.pause)
        all_goodput = verdict.goodput + sum(other.goodput for other in others)
        return Run(verdict, health_s, self._server.rejections_s(said), all_goodput)

    def _judge(self, runs: Runs, peak: float, best: float) -> None:
        name = runs.name
        is_more = name != "1×"  # than can be answered
        share, rejected_ms = (0.9, 100.0) if is_more else (None, None)
        each = [run.verdict.goodput for run in runs.runs]
        self._find(f"{name}: goodput, of the peak", runs.goodput / peak, "", "≥", share, per_s=runs.goodput, each=each)
        if len(each) > 1:
            self._find(f"{name}: goodput, of the most in any run", runs.goodput / best)
        self._find(f"{name}: rejection, p50", milliseconds(runs.rejection.percentiles[50]), "ms")
        self._find(f"{name}: rejection, p99", milliseconds(runs.rejection.percentiles[99]), "ms", "≤", rejected_ms)
        inside = milliseconds(runs.rejection_inside.percentiles[99])
        self._find(f"{name}: rejection in the gateway, p99", inside, "ms", logged=runs.rejection_inside.count)
        self._find(f"{name}: the client's own delay, p99", milliseconds(runs.client_lag.percentiles[99]), "ms")
        self._find(f"{name}: requests past their deadline", runs.num_late, "", "≤", 0)
        self._find(f"{name}: /health/live, p99", milliseconds(runs.health.percentiles[99]), "ms", "≤", 100.0)

    def _find(
        self,
        what: str,
        measured: float | None,
        unit: str = "",
        side: Side = "≤",
        target: float | None = None,
        **details: object,
    ) -> None:
        bar = len({finding.what.partition(":")[0] for finding in self.findings} | {what.partition(":")[0]})
        self.findings.append(Finding(bar, what, measured, unit, side, target, details))


def _ratio(measured: float | None, base: float | None) -> float | None:
    return None if measured is None or base is None else measured / base


def _health_s(target: Target, seconds: float) -> Sequence[float]:
    """Of requests every `INTERVAL_S`, from a process of their own, which this waits for."""
    argv = [sys.executable, "-m", "bench.bars.probe", target.host, str(target.port), str(seconds - INTERVAL_S), "first"]
    probe = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, check=True, encoding="utf-8")
    return [*map(float, probe.stdout.split())]
