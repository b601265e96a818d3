"""`conch build --verify`, and the same for shards that are already there: what is printed, and what it ends with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from build_scripts.build import build
from build_scripts.plan import BuildRequest
from build_scripts.source.checkpoint import Checkpoint
from build_scripts.spec.reading import read_spec
from build_scripts.verify.command import verify_command
from build_scripts.verify.result import Verification
from build_scripts.verify.step import VerifyStep
from tests.build_scripts.checkpoints import make_checkpoint
from tests.build_scripts.conftest import Workshop
from tests.build_scripts.tensorrt_llm.sharding.test_sharding import shard
from tests.build_scripts.test_command import run
from tests.build_scripts.verify.test_verify_broken import LAYER, change, exchange
from triton_repo.contract.errors import BuildError

SPLIT = "[build]\ntensor_parallel = 4\npipeline_parallel = 2\n"


def request(workshop: Workshop) -> BuildRequest:
    spec = workshop.write_spec(SPLIT, runtime="tensorrt_llm")
    return BuildRequest(read_spec(Path(spec)), spec, workshop.root, workshop.root / "built")


def test_a_build_verifies_its_shards_and_verifies_them_again_when_they_are_there(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    build(replace(request(workshop), verify=VerifyStep()))
    said = capsys.readouterr().out
    for words in ("float16, tp 4 × pp 2", "first and last ids", "top-1 agreement", "PASS: 8 prompts, 79 tokens: logi"):
        assert words in said
    build(replace(request(workshop), verify=VerifyStep(as_json=True)))
    again = capsys.readouterr()
    assert "tiny: up to date" in again.err
    found = json.loads(again.out)
    assert found["passed"] is True
    assert (found["tensor_parallel"], found["fault"]) == (4, None)


@pytest.mark.parametrize(
    ("runtime", "flags", "complaint"),
    [
        ("replay", ["--verify"], 'runtime = "replay"; --verify needs runtime openvino or runtime tensorrt_llm with '),
        ("openvino", ["--verify", "--plan"], 'runtime = "openvino"; --plan needs runtime tensorrt_llm'),
        ("tensorrt_llm", ["--verify", "--plan"], "--verify: not with --plan, which writes no shards"),
        ("tensorrt_llm", ["--json"], "--json: only with --plan, or with --verify of shards"),
        ("openvino", ["--json", "--verify"], "--json: only with --plan, or with --verify of shards"),
        ("tensorrt_llm", ["--no-verify"], 'runtime = "tensorrt_llm"; --no-verify needs runtime openvino'),
        ("replay", ["--no-verify"], 'runtime = "replay"; --no-verify needs runtime openvino'),
        (
            "tensorrt_llm",
            ["--verify", "--flow", "pytorch"],
            'runtime = "tensorrt_llm"; --verify needs runtime openvino',
        ),
        (
            "tensorrt_llm",
            ["--verify", "--quantization", "fp8"],
            'build.quantization = "fp8"; must be none with --verify',
        ),
    ],
)
def test_a_verification_that_cannot_be_is_refused(
    workshop: Workshop, runtime: str, flags: list[str], complaint: str
) -> None:
    workshop.write_spec('[replay]\ntext = "a"' if runtime == "replay" else "", runtime)
    done = run("tiny.toml", *flags, cwd=workshop.root)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_shards_that_are_already_there_are_verified_by_a_command_of_its_own(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(verify_command)
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    shard(checkpoint, tmp_path / "shards", 2, 3)
    arguments = [str(tmp_path / "shards"), str(checkpoint)]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.stderr
    assert Verification.model_validate_json(done.stdout).passed
    strict = CliRunner().invoke(app, [*arguments, "--tolerance", "0"])
    assert strict.exit_code == 1
    assert "FAIL: checkpoint: logits differ from transformers' by up to" in strict.stdout
    assert "no single tensor stands out" in strict.stdout
    (tmp_path / "shards" / "rank4.safetensors").unlink()
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 1
    assert "rank4.safetensors: missing" in refused.stderr


def test_shards_that_fail_are_never_published(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    def spoil_and_verify(checkpoint: Checkpoint, shards: Path, log: Path) -> None:
        change(shards, 6, exchange(f"{LAYER}.0.mlp.fc", f"{LAYER}.0.mlp.gate"))
        VerifyStep()(checkpoint, shards, log)

    with pytest.raises(BuildError, match=r"layer 1 \(stage 1\), mlp, tp rank 2: transformer\.layers\.0\.mlp\.fc, row"):
        build(replace(request(workshop), verify=spoil_and_verify))
    assert "DIFFERS" in capsys.readouterr().out
    assert not workshop.engine.exists()


def test_a_published_engine_whose_shards_have_changed_fails_with_status_1(workshop: Workshop) -> None:
    build(request(workshop))
    file = workshop.engine / "model" / "checkpoint" / "rank5.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-192] + bytes(192))  # the last of 80 rows of 96 values of 2 bytes; the size is as it was
    done = run("tiny.toml", "--verify", "--json", cwd=workshop.root)
    assert done.returncode == 1
    assert "the shards do not compute what the checkpoint does: tiny/checkpoint: lm_head, tp rank 1" in done.stderr
    fault = json.loads(done.stdout)["fault"]
    assert (fault["tensor"], fault["rows"]) == ("lm_head.weight", [79])
