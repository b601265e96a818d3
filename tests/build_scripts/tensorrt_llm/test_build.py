"""`conch build` for runtime tensorrt_llm on a machine without a GPU: planned, refused, sharded, killed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from build_scripts.build import ensure_engine
from tests.build_scripts.conftest import Workshop, contents, copy
from tests.build_scripts.tensorrt_llm.sharding.test_sharding import assert_equal, recombined
from tests.build_scripts.test_command import run
from tests.build_scripts.test_interruption import DEADLINE_S
from tests.conftest import ROOT
from triton_repo.contract.errors import BuildError, ConchError

SPLIT = "[build]\ntensor_parallel = 4\npipeline_parallel = 2\nmax_seq_len = 128\n"
RUNTIME = "tensorrt_llm"


def plan(workshop: Workshop, *flags: str) -> dict[str, Any]:
    done = run("tiny.toml", "--plan", "--json", *flags, cwd=workshop.root)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_build_writes_shards_that_recombine_and_says_the_command_that_is_left(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop.build(SPLIT, runtime=RUNTIME)
    said = capsys.readouterr().err
    shards = workshop.engine / "model" / "checkpoint"
    ranks = [load_file(shards / f"rank{rank}.safetensors") for rank in range(8)]
    assert_equal(recombined(shards, ranks), workshop.checkpoint)
    assert "tiny: not done here: compile; on a GPU host:\n  docker run " in said
    assert f"--volume {workshop.engine}/model:/model" in said
    assert "--max_seq_len 128" in said
    assert (workshop.engine / "model" / "on_gpu_host.py").is_file()


def test_the_plan_gives_the_files_that_are_then_written_to_the_byte(workshop: Workshop) -> None:
    workshop.write_spec(SPLIT, runtime=RUNTIME)
    planned = {rank["file"]: rank["file_bytes"] for rank in plan(workshop)["ranks"]}
    engine = ensure_engine(str(workshop.spec))
    assert (engine.spec.build.max_seq_len, engine.spec.build.dtype) == (128, "float16"), "nothing is left open"
    assert engine.spec == workshop.manifest.spec
    shards = (engine.directory / "model" / "checkpoint").glob("*.safetensors")
    assert planned == {path.name: path.stat().st_size for path in shards}


def test_an_absent_dtype_is_the_checkpoints_and_a_rebuild_changes_nothing(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop.build(runtime=RUNTIME)
    settings = workshop.manifest.inputs.settings
    assert (settings["dtype"], settings["max_seq_len"]) == ("float16", "256")
    workshop.build("[sampling]\ntop_k = 7", runtime=RUNTIME)
    assert "tiny: up to date" in capsys.readouterr().err


def test_a_plan_needs_no_weights_and_no_gpu(workshop: Workshop) -> None:
    workshop.write_spec(SPLIT, runtime=RUNTIME)
    complete = plan(workshop)
    (workshop.checkpoint / "model.safetensors").unlink()
    assert plan(workshop) == complete
    assert (complete["gpu"], complete["sequences"]) == (None, None)
    with pytest.raises(BuildError, match=r"tiny/checkpoint: no weights in "):
        ensure_engine(str(workshop.spec))


def test_a_plan_for_a_gpu_says_what_fits_beside_the_weights(workshop: Workshop) -> None:
    workshop.write_spec(SPLIT, runtime=RUNTIME)
    small, large = plan(workshop, "--gpu", "l4-24gb"), plan(workshop, "--gpu", "8x80")
    assert 0 < small["kv_tokens"] < large["kv_tokens"]
    assert small["kv_tokens"] % 32 == 0
    # Two kv heads on four ranks: each stands twice. 2 layers × k and v × 4 ranks × 32 values × 2 bytes.
    assert small["kv_bytes_per_token"] == 2 * 2 * 4 * 32 * 2
    assert [rank["layers"] for rank in small["ranks"]] == [[0, 1]] * 4 + [[1, 2]] * 4
    assert large["gpu"] == {"name": "80 GB", "memory_bytes": 80 * 10**9, "count": 8}


def test_a_quantized_plan_weighs_less_and_goes_through_tensorrt_llm(workshop: Workshop) -> None:
    workshop.write_spec(SPLIT, runtime=RUNTIME)
    full = plan(workshop)
    sizes = {}
    for name, gpu in (("int8", "l4-24gb"), ("fp8", "l4-24gb"), ("int4_awq", "a100-80gb"), ("nvfp4", "b200-180gb")):
        quantized = plan(workshop, "--quantization", name, "--gpu", gpu)
        sizes[name] = quantized["ranks"][0]["engine_bytes"]
        assert [step["where"] for step in quantized["steps"]] == ["GPU host", "GPU host"]
        assert quantized["steps"][-1]["title"] == "serve, in the image of docker/compiled.Dockerfile"
    assert full["ranks"][0]["engine_bytes"] > sizes["int8"] > sizes["int4_awq"]


def test_the_plan_for_people_has_the_ranks_the_tensors_and_the_steps(workshop: Workshop) -> None:
    workshop.write_spec(SPLIT, runtime=RUNTIME)
    said = run("tiny.toml", "--plan", "--gpu", "h100-80gb", cwd=workshop.root).stdout
    for line in (
        "tiny: LlamaForCausalLM, 377,472 parameters, float16",
        "transformer.layers.N.attention.qkv.weight",
        "1. shards (here)",
    ):
        assert line in said
    assert not (workshop.root / "built").exists()


BIG = {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_key_value_heads": 8,
       "head_dim": 128, "num_hidden_layers": 80, "vocab_size": 128256, "max_position_embeddings": 131072}  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--gpu", "h100-80gb"], r"rank 0 does not fit h100-80gb .* --tp 2 --pp 1 is the smallest that does"),
        (["--gpu", "l4-24gb"], r"rank 0 does not fit l4-24gb .* --tp 8 --pp 1 is the smallest that does"),
        (["--gpu", "1"], r"rank 0 does not fit 1 GB .* no split of up to 64 ranks does"),
        (["--tp", "4", "--pp", "2", "--gpu", "4xh100-80gb"], r"\(4 × 2\) = 8; must be ≤ 4, the GPUs \(h100-80gb\)"),
        (["--quantization", "fp8", "--gpu", "a100-80gb"], r'"fp8"; needs compute capability 8.9 \(L4, L40S, H100'),
        (["--max-seq-len", "200000"], r"max_seq_len = 200000; must be ≤ 131072"),
        (["--tp", "5"], r"tensor_parallel = 5; must divide the 64 attention heads; allowed: 1, 2, 4, 8, 16, 32, 64"),
        (["--pp", "81"], r"pipeline_parallel = 81; must be ≤ 80"),
    ],
)
def test_what_would_fail_on_rented_gpus_is_refused_with_what_would_do(
    workshop: Workshop, flags: list[str], complaint: str
) -> None:
    (workshop.checkpoint / "model.safetensors").unlink()
    workshop.configure("config.json", **BIG)
    workshop.write_spec("[build]\nmax_seq_len = 4096", runtime=RUNTIME)
    done = run("tiny.toml", "--plan", *flags, cwd=workshop.root)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert re.search(complaint, done.stderr), done.stderr


def _flip(offset: int) -> Callable[[Path], object]:
    def flip(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[offset] ^= 0xFF
        file.write_bytes(content)

    return flip


def _pickle_instead(file: Path) -> None:
    file.unlink()
    file.with_name("pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch trapped'\ntR.")


SPOILED: dict[str, Callable[[Path], object]] = {
    "cut off in the length": lambda file: os.truncate(file, 5),
    "cut off in the header": lambda file: os.truncate(file, 500),
    "cut off in the data": lambda file: os.truncate(file, file.stat().st_size - 1),
    "longer than it says": lambda file: os.truncate(file, file.stat().st_size + 1),
    "another length": _flip(0),
    "an enormous length": _flip(7),
    "another header": _flip(9),
    "a pickle": _pickle_instead,
    "gone": lambda file: file.unlink(),
}


@pytest.fixture(scope="module")
def sharded_once(pristine: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Built. Not to be changed."""
    workshop = copy(pristine, tmp_path_factory.mktemp("sharded"))
    workshop.build("[build]\nmax_batch_size = 9", runtime=RUNTIME)
    return workshop


@pytest.fixture
def sharded(sharded_once: Workshop, tmp_path: Path) -> Workshop:
    """Built, elsewhere; to change at will."""
    return copy(sharded_once, tmp_path)


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_spoiled_checkpoint_leaves_the_old_engine_and_nothing_else(sharded: Workshop, spoiled: str) -> None:
    before = contents(sharded.root / "built")
    SPOILED[spoiled](sharded.checkpoint / "model.safetensors")
    outside = contents(sharded.root)
    with pytest.raises(ConchError) as refused:
        sharded.build("[build]\ntensor_parallel = 2", runtime=RUNTIME)
    assert str(sharded.checkpoint) in str(refused.value)
    assert contents(sharded.root / "built") == before
    assert contents(sharded.root).keys() == outside.keys()


def test_a_build_that_is_killed_at_any_change_of_a_file_leaves_the_old_engine_or_the_new(sharded: Workshop) -> None:
    command = [sys.executable, "-m", "tests.build_scripts.tensorrt_llm.killed_builds", str(sharded.root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    sizes = json.loads(done.stdout)
    old = sizes.count(9)
    assert 0 < old < len(sizes)
    assert sizes == [9] * old + [change + 10 for change in range(old + 1, len(sizes) + 1)]
    shards = sharded.engine / "model" / "checkpoint"
    ranks = [load_file(shards / f"rank{rank}.safetensors") for rank in range(2)]
    assert_equal(recombined(shards, ranks), sharded.checkpoint)
    assert sharded.store == {"engine", "tiny.lock", "tiny.log"}


@pytest.mark.parametrize("flags", [(), ("--plan",)])
def test_a_file_that_cannot_be_read_is_one_sentence(workshop: Workshop, flags: tuple[str, ...]) -> None:
    (workshop.checkpoint / "config.json").unlink()
    (workshop.checkpoint / "config.json").mkdir()
    workshop.write_spec(runtime=RUNTIME)
    done = run("tiny.toml", *flags, cwd=workshop.root)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "config.json" in done.stderr
