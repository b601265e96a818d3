"""Measures candidates: each behind a `conch serve` of its own, under every load that has no outcome on file yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.load.connection import Target
from bench.load.distribution import parse_lengths
from bench.load.generator import Bounds, ClosedLoop
from bench.load.run import Plan, execute, measure
from bench.load.summary import summarize
from bench.load.workload import Workload
from bench.server import Server, serving
from bench.sweep.candidate import Candidate
from bench.sweep.display import Display
from bench.sweep.engines import Engines
from bench.sweep.outcome import Load, Measured, Outcome, fingerprint
from bench.sweep.results import Results
from triton_repo.contract.errors import ConchError


@dataclass(frozen=True, slots=True)
class Runner:
    """`machine` is a part of what points are known by. With `retry_failed`, a failure on file counts for nothing."""

    engines: Engines
    results: Results
    load: Load
    levels: Sequence[ClosedLoop]
    machine: Mapping[str, Any]
    retry_failed: bool
    display: Display

    def outcomes(self, candidate: Candidate) -> list[Outcome]:
        """One for each level. A point that fails is an outcome too, and the others go on."""
        found = {level: self._on_file(candidate, level) for level in self.levels}
        for outcome in found.values():
            if outcome is not None:
                self.display.ended(outcome, on_file=True)
        missing = [level for level, outcome in found.items() if outcome is None]
        measured = dict(zip(missing, self._measure(candidate, missing), strict=True)) if missing else {}
        return [outcome or measured[level] for level, outcome in found.items()]

    def fingerprint(self, candidate: Candidate, level: ClosedLoop) -> str:
        """What the point is known by on file."""
        # `engine` says what the checkpoints hold; where they lie does not matter.
        spec = candidate.spec.model_dump(mode="json", exclude={"model": True, "speculative": {"draft_model"}})
        spec["workers"] = candidate.workers
        return fingerprint(spec, candidate.engine, self.load, level.concurrency, self.machine)

    def _on_file(self, candidate: Candidate, level: ClosedLoop) -> Outcome | None:
        """Told with the candidate's settings: those on file are of a sweep that may have named other keys."""
        outcome = self.results.get(self.fingerprint(candidate, level))
        if outcome is None or (outcome.failure and self.retry_failed):
            return None
        return replace(outcome, settings=candidate.settings)

    def _measure(self, candidate: Candidate, levels: Sequence[ClosedLoop]) -> list[Outcome]:
        done: list[Outcome] = []
        try:
            self.display.starting(candidate.settings)
            with serving(str(self.engines.prepare(candidate)), *candidate.flags) as server:
                for level in levels:
                    self.display.measuring(candidate.settings, level.concurrency)
                    done.append(self._keep(self._point(server, candidate, level)))
        except ConchError as error:  # it cannot be built, or does not start
            done += [self._keep(self._failed(candidate, level, str(error))) for level in levels[len(done) :]]
        return done

    def _point(self, server: Server, candidate: Candidate, level: ClosedLoop) -> Outcome:
        plan = self._plan(server.target, candidate.spec.name, level, server.pid)
        run = execute(measure(plan, level))
        summary = summarize(level.name, run.records, None, run.client_cpu_s, run.server_cpu_s)
        if not summary.succeeded:
            reason = f"all {summary.failed} requests failed: {next(iter(summary.errors))}"
            return self._failed(candidate, level, reason)
        good = [record for record in run.records if record.error is None]
        latencies = [(record.ttft_s, record.itl_s, record.end_to_end_s) for record in good]
        return Outcome(
            fingerprint=self.fingerprint(candidate, level),
            settings=candidate.settings,
            concurrency=level.concurrency,
            measured=Measured(summary, latencies),
        )

    def _failed(self, candidate: Candidate, level: ClosedLoop, reason: str) -> Outcome:
        return Outcome(self.fingerprint(candidate, level), candidate.settings, level.concurrency, failure=reason)

    def _keep(self, outcome: Outcome) -> Outcome:
        self.results.put(outcome)
        self.display.ended(outcome, on_file=False)
        return outcome

    def _plan(self, target: Target, model: str, level: ClosedLoop, pid: int) -> Plan:
        load = self.load
        return Plan(
            target=target,
            workload=workload(load, model),
            bounds=Bounds(load.requests),
            warmup=level.concurrency if load.warmup is None else load.warmup,
            timeout_s=load.timeout_s,
            cpu_of=[pid],
        )


def workload(load: Load, model: str) -> Workload:
    """Raises: BenchError: a law of lengths is none."""
    return Workload(
        model=model,
        prompt_tokens=parse_lengths("--prompt-tokens", load.prompt_tokens),
        output_tokens=parse_lengths("--output-tokens", load.output_tokens),
        api=load.api,
        ignore_eos=load.ignore_eos,
        temperature=load.temperature,
        seed=load.seed,
    )
