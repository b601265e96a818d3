from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.load.generator import ClosedLoop, OpenLoop
from bench.options import Options
from bench.processes import ProcessTrees, private_bytes
from bench.session import make_plan, parse_loops
from launch.cli import app
from tests.conftest import Stack
from triton_repo.contract.errors import BenchError

NOBODY = "http://127.0.0.1:1"


def test_several_runs_are_asked_for_in_one_option() -> None:
    assert parse_loops(Options(NOBODY, concurrency="1,8")) == [ClosedLoop(1), ClosedLoop(8)]
    assert parse_loops(Options(NOBODY, rate="0.5,2", seed=3)) == [OpenLoop(0.5, 3), OpenLoop(2, 3)]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (Options(NOBODY, concurrency="0"), "--concurrency = '0'; must be numbers above 0"),
        (Options(NOBODY, concurrency="1.5"), "--concurrency = '1.5'; must be whole numbers"),
        (Options(NOBODY, rate="fast"), "--rate = 'fast'; must be numbers above 0"),
        (Options(NOBODY, rate="inf"), "--rate = 'inf'; must be numbers above 0"),
    ],
)
def test_a_load_that_is_none_is_refused_by_name(options: Options, complaint: str) -> None:
    with pytest.raises(BenchError, match=re.escape(complaint)):
        parse_loops(options)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (Options(NOBODY), f"{NOBODY}: nothing answers"),
        (Options(NOBODY, vocab_size=9), "--vocab-size = 9; needs --api completions"),
        (Options(NOBODY, prompt_tokens="x"), "--prompt-tokens = 'x'; allowed: N"),
    ],
)
def test_a_session_that_cannot_be_is_refused_before_it_starts(options: Options, complaint: str) -> None:
    with pytest.raises(BenchError, match=re.escape(complaint)):
        make_plan(options)


def test_a_run_is_bounded_by_default_and_by_what_is_given() -> None:
    default, timed = (make_plan(Options(NOBODY, model="m", duration=duration)).bounds for duration in (None, 2.0))
    assert (default.requests, default.duration_s) == (100, None)
    assert (timed.requests, timed.duration_s) == (None, 2.0)


def test_a_report_does_not_tell_the_key() -> None:
    assert "sk-canary" not in str(Options(NOBODY, api_key="sk-canary").told())


def test_the_command_measures_a_real_server(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    argv = ["bench", stack.gateway, "--model", "replay", "--json", str(file), "--concurrency", "1,4"]
    argv += ["--requests", "12"]
    argv += ["--output-tokens", "8", "--ignore-eos", "--prompt-tokens", "uniform:4:9", "--cpu-of", str(stack.pid)]
    argv += ["--ttft-slo-ms", "60000"]
    result = CliRunner().invoke(app, argv)
    assert result.exit_code == 0, result.output
    assert "12 / 0" in result.output
    written = json.loads(file.read_bytes())
    assert [run["name"] for run in written["runs"]] == ["1 at a time", "4 at a time"]
    for run in written["runs"]:
        assert (run["succeeded"], run["failed"], run["completion_tokens"]) == (12, 0, 12 * 8)
        assert run["ttft_s"]["count"] == run["itl_s"]["count"] == 12
        assert run["ttft_s"]["percentiles"]["99"] is None
        assert run["goodput_per_s"] == run["requests_per_s"]
        assert run["server_cpu_s"] >= 0


def test_the_command_counts_exact_prompts_and_arrivals_of_their_own(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    argv = ["bench", stack.gateway, "--model", "replay", "--rate", "40", "--requests", "10", "--json", str(file)]
    argv += ["--api", "completions", "--vocab-size", "500", "--prompt-tokens", "17", "--output-tokens", "2"]
    result = CliRunner().invoke(app, argv)
    assert result.exit_code == 0, result.output
    (run,) = json.loads(file.read_bytes())["runs"]
    assert (run["name"], run["prompt_tokens"]) == ("40 / s", 170)


def test_the_command_fails_where_no_request_succeeds(stack: Stack) -> None:
    result = CliRunner().invoke(app, ["bench", stack.gateway, "--model", "absent", "--requests", "3"])
    assert result.exit_code == 1
    assert "3 requests failed: HTTP 404" in result.output


def test_the_processes_of_a_server_are_known_by_what_they_do(stack: Stack) -> None:
    trees = ProcessTrees([stack.pid])
    assert {"tritonserver", "gateway", "preprocess", "engine", "detokenize"} <= trees.cpu_by_name_s().keys()
    assert trees.cpu_s() > 0
    assert private_bytes(trees.find("gateway")) > 2**20


def test_a_process_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(BenchError, match="--cpu-of = 999999999; there is no such process"):
        ProcessTrees([999999999])
    with pytest.raises(BenchError, match="no process under test has the argument 'absent'"):
        ProcessTrees([os.getpid()]).find("absent")
