"""`build_engine.py` as people and scripts start it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from build_scripts.build import ensure_engine
from build_scripts.command import build_command
from tests.build_scripts.conftest import Workshop
from triton_repo.contract.errors import SpecError

SCRIPT = Path(__file__).parents[2] / "build_scripts" / "build_engine.py"
COMMAND = typer.Typer()
COMMAND.command()(build_command)
REPLAY = '[replay]\ntext = "a"'


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command in this process, which has imported what it needs; its steps are children as ever."""
    with chdir(cwd):
        done = CliRunner().invoke(COMMAND, [*map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


def run_process(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )


def test_a_spec_is_built_and_then_found_up_to_date(workshop: Workshop) -> None:
    workshop.write_spec(REPLAY, runtime="replay")
    first, second = (run_process("tiny.toml", cwd=workshop.root) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    assert "tiny: building (not built yet)\n" in first.stderr
    assert second.stderr == "tiny: up to date: built/tiny\ntiny: parsers of tool calls: hermes\n"


def test_flags_alone_build_from_a_directory_relative_to_where_they_are_given(workshop: Workshop) -> None:
    done = run("--model", "checkpoint", "--name", "flagged", "--output-dir", "out", cwd=workshop.root / "tiny")
    assert done.returncode == 0, done.stderr
    assert ensure_engine(str(workshop.root / "tiny" / "out" / "flagged")).spec.model == "checkpoint"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name a spec"),
        (["nowhere"], "nowhere: neither a spec file nor one of engines/: "),
        (["nowhere.toml"], "nowhere.toml: no such file"),
        (["--model", "checkpoint"], "--name: is required"),
        (["tiny.toml", "--tp", "2"], "--tp = 2; must be 1"),
        (["tiny.toml", "--pp", "4"], "--pp = 4; must be 1"),
        (
            ["tiny.toml", "--runtime", "tensorrt_llm", "--tp", "3"],
            "build.tensor_parallel = 3; must divide the 4 attention",
        ),
        (["tiny.toml", "--plan"], 'runtime = "openvino"; --plan needs runtime tensorrt_llm'),
        (["tiny.toml", "--gpu", "h100-80gb"], 'runtime = "openvino"; --gpu needs runtime tensorrt_llm'),
        (["tiny.toml", "--runtime", "tensorrt_llm", "--reserve", "2"], "--reserve: only with --gpu or --plan"),
        (["tiny.toml", "--runtime", "tensorrt_llm", "--search"], "--search: only with --plan"),
        (
            ["--to", "hf", "--model", "tiny/checkpoint", "--output-dir", "out", "--dtype", "float16", "--plan"],
            "--to: takes only --model and --output-dir, and not --dtype, --plan",
        ),
        (["tiny.toml", "--to", "hf", "--output-dir", "out"], "takes only --model and --output-dir, and not tiny.toml"),
        (
            ["tiny.toml", "--runtime", "tensorrt_llm", "--gpu", "h1"],
            '--gpu = "h1"; allowed: a number of GB, or one of ',
        ),
        (["tiny.toml", "--reserve", "inf"], "--reserve = inf; must be < 1e+06"),
        (["tiny.toml", "--reserve", "nan"], "--reserve = nan; must be < 1e+06"),
        (["tiny.toml", "--max-seq-len", "512"], "build.max_seq_len = 512; must be ≤ 256"),
    ],
)
def test_what_is_not_allowed_ends_with_exit_code_2_and_one_sentence(
    workshop: Workshop, arguments: list[str], complaint: str
) -> None:
    done = run(*arguments, cwd=workshop.root)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert complaint in done.stderr
    assert not workshop.engine.exists()


def test_a_spec_that_does_not_exist_ends_the_process_with_exit_code_2(tmp_path: Path) -> None:
    done = run_process("nowhere.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: nowhere.toml: no such file\n")


def test_a_build_that_fails_ends_with_exit_code_1(workshop: Workshop) -> None:
    (workshop.checkpoint / "model.safetensors").unlink()
    done = run("tiny.toml", cwd=workshop.root)
    assert done.returncode == 1
    assert done.stderr.startswith("error: tiny/checkpoint: no model.safetensors")


def test_a_hub_id_that_cannot_be_fetched_is_one_sentence(workshop: Workshop) -> None:
    done = run_process(
        "--model", "conch-tests/absent", "--name", "x", "--output-dir", "out",
        cwd=workshop.root, HF_HUB_OFFLINE="1", HF_HOME=str(workshop.root / "hub"),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.endswith("and the HuggingFace hub cannot be reached\n")
    assert done.stderr.count("\n") == 1


def test_a_hub_id_is_built_from_the_local_hub_cache_when_there_is_no_network(workshop: Workshop) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = workshop.root / "hub" / "hub" / "models--conch-tests--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots").mkdir()
    workshop.checkpoint.rename(cached / "snapshots" / commit)
    workshop.spec.write_text(f'name = "tiny"\nmodel = "conch-tests/tiny"\nruntime = "replay"\n{REPLAY}')
    done = run_process("tiny.toml", cwd=workshop.root, HF_HUB_OFFLINE="1", HF_HOME=str(workshop.root / "hub"))
    assert done.returncode == 0, done.stderr
    assert ensure_engine(str(workshop.engine)).spec.model == "conch-tests/tiny"


def test_a_name_that_nothing_bears_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(SpecError, match=r"^nothing: neither .*: demo, llama-3\.1-.*, replay, smollm2$"):
        ensure_engine("nothing")
