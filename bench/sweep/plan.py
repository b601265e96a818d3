"""From options to a sweep that can start: whatever is wrong with them is found here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.load.generator import ClosedLoop
from bench.load.summary import Slo
from bench.session import parse_concurrency
from bench.sweep.candidate import KEYS, Candidate, candidates, own_value
from bench.sweep.goal import Goal
from bench.sweep.grid import Axis, Settings, Value, check_size, parse_axes
from bench.sweep.options import SweepOptions
from bench.sweep.outcome import Load
from bench.sweep.runner import workload
from build_scripts.spec.reading import read_spec, require_spec_file
from triton_repo.contract.errors import BenchError

SAMPLES_OF_A_P99: Final = 100


@dataclass(frozen=True, slots=True)
class Sweep:
    """All of one sweep. `start` is the spec's own settings for a quick search, None for the whole grid."""

    name: str
    file: Path
    directory: Path
    axes: Sequence[Axis]
    candidates: Mapping[tuple[Value, ...], Candidate]
    levels: Sequence[ClosedLoop]
    load: Load
    goal: Goal
    start: Settings | None
    retry_failed: bool

    def candidate(self, settings: Settings) -> Candidate:
        return self.candidates[tuple(settings.values())]


def plan_sweep(options: SweepOptions) -> Sweep:
    """
    Raises:
        BenchError, SpecError: an option, or one point of the grid, is not allowed; named.
        BuildError: the checkpoint cannot be found or used.
    """
    file = require_spec_file(options.spec)
    base = read_spec(file)
    axes = parse_axes(options.vary, KEYS)
    if options.search == "quick":
        axes = tuple(axis.with_own(own_value(base, axis.key)) for axis in axes)
    levels = list(dict.fromkeys(parse_concurrency(options.concurrency)))
    check_size(axes, len(levels), options.max_points)
    goal = Goal(options.objective, Slo(options.ttft_p99_ms, options.itl_p99_ms, options.end_to_end_p99_ms))
    _check_requests(options, goal, levels)
    load = _load(options)
    workload(load, base.name)
    return Sweep(
        name=base.name,
        file=file,
        directory=options.output_dir or Path("sweep") / base.name,
        axes=axes,
        candidates={tuple(found.settings.values()): found for found in candidates(file, axes)},
        levels=levels,
        load=load,
        goal=goal,
        start={axis.key: own_value(base, axis.key) for axis in axes} if options.search == "quick" else None,
        retry_failed=options.retry_failed,
    )


def _check_requests(options: SweepOptions, goal: Goal, levels: Sequence[ClosedLoop]) -> None:
    if options.objective == "goodput" and not goal.slo:
        raise BenchError("--objective goodput counts requests within an SLO: give --ttft-p99-ms or another limit")
    most = max(level.concurrency for level in levels)
    if options.requests < most:
        raise BenchError(f"--requests = {options.requests}; must be ≥ {most}, the highest --concurrency")
    if goal.slo and options.requests < SAMPLES_OF_A_P99:
        raise BenchError(f"--requests = {options.requests}; must be ≥ {SAMPLES_OF_A_P99} where a p99 is bounded")


def _load(options: SweepOptions) -> Load:
    return Load(
        requests=options.requests,
        warmup=options.warmup,
        prompt_tokens=options.prompt_tokens,
        output_tokens=options.output_tokens,
        ignore_eos=options.ignore_eos,
        temperature=options.temperature,
        api=options.api,
        seed=options.seed,
        timeout_s=options.timeout,
    )
