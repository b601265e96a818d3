"""A sweep that finds points on file which a sweep with other `--vary` keys has measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench import machine
from bench.sweep.display import Display
from bench.sweep.engines import Engines
from bench.sweep.grid import Settings
from bench.sweep.options import SweepOptions
from bench.sweep.plan import plan_sweep
from bench.sweep.results import Results
from bench.sweep.runner import Runner
from bench.sweep.session import run_sweep
from build_scripts.spec.reading import read_spec
from tests.bench.load.outcomes import outcome
from tests.launch.replay_engine import write_spec

SIZE, FLUSH = "build.max_batch_size", "serve.flush_interval_ms"
GRID = (f"{SIZE}=32,64", f"{FLUSH}=32,64")
BEST = {SIZE: 64, FLUSH: 32}


def measured(options: SweepOptions) -> None:
    """Leave what a finished sweep leaves: every point on file, of which `BEST` gives the most tokens."""
    sweep = plan_sweep(options)
    results = Results(sweep.directory / "points")
    display = Display(Console(quiet=True), sweep.goal, None)
    engines = Engines(sweep.directory / "engines", sweep.directory)
    runner = Runner(engines, results, sweep.load, sweep.levels, machine.decisive(machine.describe()), False, display)
    results.directory.mkdir(parents=True)
    for candidate in sweep.candidates.values():
        for level in sweep.levels:
            one = outcome(999 if candidate.settings == BEST else 100, 50, candidate.settings, level.concurrency)
            results.put(replace(one, fingerprint=runner.fingerprint(candidate, level)))


@pytest.mark.parametrize(
    ("vary", "shown"),
    [
        (GRID, BEST),
        (GRID[::-1], {FLUSH: 32, SIZE: 64}),
        ((f"{FLUSH}=32,64",), {FLUSH: 32}),  # 64 is what the spec itself says for the other key
    ],
)
def test_points_on_file_are_told_with_the_keys_that_are_varied_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], vary: tuple[str, ...], shown: Settings
) -> None:
    options = SweepOptions(str(write_spec(tmp_path)), GRID, concurrency="8", output_dir=tmp_path / "sweep")
    measured(options)
    assert run_sweep(replace(options, vary=vary))
    assert capsys.readouterr().out.count("(on file)") == 2 ** len(vary)

    won = read_spec(tmp_path / "sweep" / "winner.toml")
    assert (won.build.max_batch_size, won.serve.flush_interval_ms) == (64, 32)
    report = (tmp_path / "sweep" / "report.md").read_text()
    assert f"| meets | {' | '.join(shown)} | at a time |" in report
    assert f"| yes | {' | '.join(map(str, shown.values()))} | 8 | 999 |" in report
