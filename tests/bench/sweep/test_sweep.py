"""`conch sweep` on a real `conch serve` with an engine that needs no model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from bench.server import serving
from bench.sweep.options import SweepOptions
from bench.sweep.plan import plan_sweep
from bench.sweep.spec_text import spec_text
from build_scripts.build import ensure_engine
from build_scripts.plan import BuildRequest, make_plan, prepare_build
from build_scripts.spec.reading import ENGINES, read_spec
from launch.cli import app
from launch.descendants import PROC
from tests.build_scripts.adapters import write_adapter
from tests.launch.replay_engine import write_spec
from tests.launch.server import CONCH, regions
from tests.waiting import WAIT_S, wait_for
from triton_repo.contract.errors import BenchError, ConchError, SpecError

QUICK = ("--requests", "100", "--output-tokens", "8", "--prompt-tokens", "4", "--timeout", "30")
_PREFIX = re.compile(rb"shm-region-prefix-name=(\w+)")


def sweep(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["sweep", *arguments], env=environment)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"vary": ("serve.bogus=1",)}, "'serve.bogus' is no key that can be varied"),
        ({"vary": ("build.max_batch_size=8,0",)}, "build.max_batch_size=0: --max-batch-size = 0; must be ≥ 1"),
        ({"vary": ("serve.enable_kv_cache_reuse=maybe",)}, 'serve.enable_kv_cache_reuse = "maybe"; must be true or fa'),
        ({"vary": ("build.max_num_tokens=9999,32",)}, "--max-num-tokens = 32; must be ≥ build.max_batch_size (64)"),
        ({"vary": ("serve.max_tokens_in_paged_kv_cache=1,4096",)}, "needs runtime openvino or runtime tensorrt_llm"),
        ({"vary": ("workers=2,0",)}, "--vary workers=0: must be a whole number from 1 to 256"),
        ({"concurrency": "4"}, "nothing to sweep"),
        ({"concurrency": "0,1"}, "--concurrency = '0,1'; must be numbers above 0"),
        ({"concurrency": "1,300"}, "--requests = 200; must be ≥ 300, the highest --concurrency"),
        ({"requests": 99, "ttft_p99_ms": 5.0}, "--requests = 99; must be ≥ 100 where a p99 is bounded"),
        ({"objective": "goodput"}, "--objective goodput counts requests within an SLO"),
        ({"max_points": 2}, "the grid has 3 points (3); --max-points = 2"),
        ({"output_tokens": "many"}, "--output-tokens = 'many'; allowed: N"),
        ({"spec": "absent"}, "absent: neither a spec file nor one of engines/: demo"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_starts(
    tmp_path: Path, changed: dict[str, object], complaint: str
) -> None:
    directory = tmp_path / "sweep"
    options: dict[str, object] = {"spec": str(write_spec(tmp_path)), "output_dir": directory, **changed}
    with pytest.raises(ConchError, match=re.escape(complaint)) as caught:
        plan_sweep(SweepOptions(**options))  # type: ignore[arg-type]
    assert isinstance(caught.value, SpecError | BenchError)
    assert not directory.exists()


def test_points_that_need_the_same_build_share_an_engine(tmp_path: Path) -> None:
    vary = ("serve.flush_interval_ms=0,20", "build.max_batch_size=4,8")
    planned = plan_sweep(SweepOptions(str(write_spec(tmp_path)), vary=vary))
    assert len(planned.candidates) == 4
    assert len({candidate.engine for candidate in planned.candidates.values()}) == 1


def test_a_quick_search_starts_from_the_specs_own_values(tmp_path: Path) -> None:
    vary = ("serve.flush_interval_ms=0,20", "build.max_batch_size=8,64", "workers=2,3")
    planned = plan_sweep(SweepOptions(str(write_spec(tmp_path)), vary=vary, search="quick"))
    assert planned.start == {"serve.flush_interval_ms": None, "build.max_batch_size": 64, "workers": 1}
    assert tuple(planned.start.values()) in planned.candidates


SPECULATIVE = """
name = "guess"
model = "checkpoint"
[build]
max_seq_len = 512
[serve]
enable_chunked_context = false
[speculative]
mode = "draft"
draft_model = "checkpoint"
"""


def test_a_candidate_names_its_checkpoints_so_that_its_spec_can_lie_anywhere(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").symlink_to(ENGINES / "demo" / "checkpoint")
    file = tmp_path / "guess.toml"
    file.write_text(SPECULATIVE)
    planned = plan_sweep(SweepOptions(str(file), vary=("speculative.num_assistant_tokens=3,5",)))
    checkpoint = str(ENGINES / "demo" / "checkpoint")
    for candidate in planned.candidates.values():
        assert candidate.spec.model == checkpoint
        assert candidate.spec.speculative is not None
        assert candidate.spec.speculative.draft_model == checkpoint


ADAPTED = f"""
name = "guess"
model = "{ENGINES / "demo" / "checkpoint"}"
runtime = "tensorrt_llm"
[build]
flow = "pytorch"
[build.lora.adapters]
french = "adapters/french"
"fr.v2" = "adapters/french"
"""


def test_a_candidate_names_its_adapters_so_that_its_spec_can_lie_anywhere(tmp_path: Path) -> None:
    written = write_adapter(tmp_path / "adapters" / "french")
    file = tmp_path / "guess.toml"
    file.write_text(ADAPTED)
    planned = plan_sweep(SweepOptions(str(file), vary=("build.max_batch_size=8,16",)))
    for number, candidate in enumerate(planned.candidates.values()):
        elsewhere = tmp_path / str(number)
        elsewhere.mkdir()
        moved = elsewhere / "moved.toml"
        moved.write_text(spec_text(candidate.spec))
        request = BuildRequest(read_spec(moved), str(moved), elsewhere, elsewhere / "built")
        with prepare_build(request) as prepared:
            fingerprint = make_plan(prepared, None).inputs.fingerprint
        found = [(adapter.name, adapter.directory) for adapter in prepared.materials.adapters]
        assert found == [("french", written), ("fr.v2", written)]
        assert fingerprint == candidate.engine


def test_speculative_decoding_can_be_swept_on_and_off(tmp_path: Path) -> None:
    file = tmp_path / "guess.toml"
    file.write_text(f'name = "guess"\nmodel = "{ENGINES / "demo" / "checkpoint"}"\n')
    planned = plan_sweep(SweepOptions(str(file), vary=("speculative.mode=null,prompt_lookup",)))
    sections = [candidate.spec.speculative for candidate in planned.candidates.values()]
    assert [section and section.mode for section in sections] == [None, "prompt_lookup"]


def test_a_sweep_measures_keeps_reports_and_names_a_spec_that_can_be_served(tmp_path: Path) -> None:
    spec, directory = write_spec(tmp_path), tmp_path / "out"
    own = ensure_engine(str(spec)).directory.resolve()
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*") if path.is_file()}
    arguments = [str(spec), "--vary", "serve.flush_interval_ms=0,20", "--concurrency", "2,4", *QUICK]
    arguments += ["--output-dir", str(directory), "--ttft-p99-ms", "60000"]

    broken = sweep(*arguments, CONCH_TRITONSERVER="/no/such")
    assert broken.exit_code == 1, broken.output
    assert "No point could be measured." in broken.output
    assert (directory / "report.md").read_text().count("CONCH_TRITONSERVER = /no/such: this is not an executable") == 4
    assert not (directory / "winner.toml").exists()

    known = sweep(*arguments)
    assert known.exit_code == 1
    assert known.output.count("(on file)") == 4

    done = sweep(*arguments, "--retry-failed", CONCH_API_KEY="sk-of-another-server")
    assert done.exit_code == 0, done.output
    points = [json.loads(file.read_bytes()) for file in (directory / "points").glob("*.json")]
    assert sorted((point["settings"]["serve.flush_interval_ms"], point["concurrency"]) for point in points) == [
        (0, 2), (0, 4), (20, 2), (20, 4),
    ]  # fmt: skip
    assert [point["measured"]["summary"]["completion_tokens"] for point in points] == [800] * 4

    again = sweep(*arguments, "--ttft-p99-ms", "0.001", CONCH_TRITONSERVER="/no/such")
    assert again.exit_code == 1
    assert again.output.count("(on file)") == 4
    assert "No point meets the goal. The nearest: serve.flush_interval_ms=" in again.output
    assert not (directory / "winner.toml").exists()

    assert sweep(*arguments).exit_code == 0
    won, written = read_spec(directory / "winner.toml"), read_spec(spec)
    assert won.serve.flush_interval_ms in (0, 20)
    assert won.model_copy(update={"serve": written.serve, "model": written.model}) == written
    with serving(str(directory / "winner.toml")) as server:
        assert server.ready_after_s > 0
    assert {path: path.stat().st_mtime_ns for path in own.rglob("*") if path.is_file()} == before


class Sweep:
    """A `conch sweep` in a process of its own; what it starts is known by a mark in the environment."""

    def __init__(self, arguments: Sequence[str], directory: Path) -> None:
        self._tag = f"CONCH_TEST={directory}\0".encode()
        self.points = directory / "points"
        self.process = subprocess.Popen(
            (*CONCH, "sweep", *arguments, "--output-dir", str(directory)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "CONCH_TEST": str(directory)},
        )

    def on_file(self) -> dict[str, int]:
        return {file.name: file.stat().st_mtime_ns for file in self.points.glob("*.json")}

    def servers(self) -> list[bytes]:
        """Command lines of the processes that it started and that run."""
        found = []
        for path in PROC.glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes()
                if self._tag in environment and path.name != str(self.process.pid):
                    found.append((path / "cmdline").read_bytes())
            except OSError:  # ended meanwhile
                continue
        return found

    def shm_prefixes(self) -> set[str]:
        return {match[1].decode() for match in map(_PREFIX.search, self.servers()) if match}

    def end(self) -> str:
        output, _ = self.process.communicate(timeout=WAIT_S)
        return output


def stop_after_one_more_point(arguments: Sequence[str], directory: Path, number: signal.Signals) -> dict[str, int]:
    """What is on file once the sweep was stopped, of which nothing else is left."""
    sweep = Sweep(arguments, directory)
    before = sweep.on_file()
    wait_for(lambda: len(sweep.on_file()) > len(before) or sweep.process.poll() is not None)
    assert sweep.process.poll() is None, sweep.end()
    (prefix,) = sweep.shm_prefixes()
    assert regions(prefix)
    sweep.process.send_signal(number)
    output = sweep.end()
    if number == signal.SIGKILL:
        wait_for(lambda: not sweep.servers())
    else:
        assert sweep.process.returncode == 130, output
        assert output.endswith("stopped; the same command goes on from here\n")
    assert sweep.servers() == []
    assert regions(prefix) == []
    after = sweep.on_file()
    assert len(after) == len(before) + 1
    assert after.items() >= before.items()
    return after


def test_a_sweep_that_was_stopped_leaves_nothing_and_goes_on_from_what_it_measured(tmp_path: Path) -> None:
    spec, directory = write_spec(tmp_path, tokens_per_second=10), tmp_path / "sweep"
    arguments = [str(spec), "--concurrency", "4,2,1", "--requests", "4", "--warmup", "0"]
    arguments += ["--output-tokens", "8", "--prompt-tokens", "4"]
    assert len(stop_after_one_more_point(arguments, directory, signal.SIGINT)) == 1
    kept = stop_after_one_more_point(arguments, directory, signal.SIGKILL)
    resumed = Sweep(arguments, directory)
    output = resumed.end()
    assert resumed.process.returncode == 0, output
    assert output.count("(on file)") == 2
    assert len(resumed.on_file()) == 3
    assert resumed.on_file().items() >= kept.items()
