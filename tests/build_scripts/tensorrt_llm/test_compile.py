"""From shards to an engine: the run of the commands, their failures, and what is left where there is no GPU."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import time
from pathlib import PurePosixPath
from typing import Any

import psutil
import pytest

from tests.build_scripts.checkpoints import ARCHITECTURES, make_checkpoint
from tests.build_scripts.conftest import Workshop, contents
from tests.build_scripts.tensorrt_llm.gpu_host import QUANTIZE, use_gpu_host
from tests.build_scripts.test_interruption import DEADLINE_S, start
from tests.fake_nvml import install_gpu_for_children, install_gpus
from tests.fake_tensorrt_llm import importable
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import BuildError, UnsupportedParameter
from triton_repo.engine.request import parse_request
from triton_repo.engine.runtimes.tensorrt_llm.arguments import llm_arguments

SPLIT = "[build]\ntensor_parallel = 2\npipeline_parallel = 2\nmax_seq_len = 128\n"
RUNTIME = "tensorrt_llm"


@pytest.fixture
def gpu_host(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A workshop on a machine with TensorRT-LLM and a GPU."""
    use_gpu_host(monkeypatch, workshop.root / "bin")
    monkeypatch.setenv("CUDA_VERSION", "13.1.0.036")
    return workshop


def test_with_tensorrt_llm_and_a_gpu_a_build_compiles_and_notes_by_what(
    gpu_host: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = gpu_host.build(SPLIT, runtime=RUNTIME)
    said = capsys.readouterr().err
    assert "  compile  4 ranks, " in said
    assert "not done here" not in said
    compiled = engine.directory / "model" / "engine"
    assert {path.name for path in compiled.glob("rank*.engine")} == {f"rank{rank}.engine" for rank in range(4)}
    limits = json.loads((compiled / "config.json").read_text())["build_config"]
    assert (limits["max_seq_len"], limits["max_batch_size"], limits["max_num_tokens"]) == (128, 256, 8192)
    noted = gpu_host.manifest.compiled
    assert noted is not None
    assert noted["gpu"] == "NVIDIA H100 80GB HBM3"
    assert (noted["capability"], noted["cuda"]) == ("9.0", "13.1.0.036")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("error", r"Error Code 1: Cuda Runtime \(out of memory\) \(exit code 1; log: .*tiny\.log\)"),
        ("raise", r"ValueError: Required but not provided tensors:.*ln_f"),
    ],
)
def test_a_failed_compile_says_why_and_where_the_log_is_and_leaves_the_old_engine(
    gpu_host: Workshop, monkeypatch: pytest.MonkeyPatch, failure: str, reason: str
) -> None:
    gpu_host.build(SPLIT, runtime=RUNTIME)
    before = contents(gpu_host.engine)
    monkeypatch.setenv("TRTLLM_BUILD", failure)
    with pytest.raises(BuildError, match=f"compile: .*{reason}"):
        gpu_host.build("[build]\nmax_seq_len = 64", runtime=RUNTIME)
    assert contents(gpu_host.engine) == before
    assert "Build TensorRT engine" in (gpu_host.root / "built" / ".store" / "tiny.log").read_text()


@pytest.mark.parametrize("missing", ["trtllm-build", "GPU"])
def test_without_one_of_the_two_the_command_is_shown_until_it_has_run(
    gpu_host: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    program = gpu_host.root / "bin" / "trtllm-build"
    kept = program.read_bytes()
    if missing == "GPU":
        install_gpus(monkeypatch)
    else:
        program.unlink()
    gpu_host.build(SPLIT, runtime=RUNTIME)
    docker = capsys.readouterr().err.partition("on a GPU host:\n  ")[2].split("\n")[0]
    gpu_host.build(SPLIT, runtime=RUNTIME)
    assert docker in capsys.readouterr().err
    program.write_bytes(kept)
    program.chmod(0o755)
    run_in_a_container(gpu_host, docker)
    gpu_host.build(SPLIT, runtime=RUNTIME)
    assert "not done here" not in capsys.readouterr().err
    assert gpu_host.manifest.compiled is not None


def test_what_one_machine_could_not_compile_another_one_compiles_from_the_same_shards(
    gpu_host: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    compiler = gpu_host.root / "bin" / "trtllm-build"
    compiler.rename(gpu_host.root / "elsewhere")
    gpu_host.build(SPLIT, runtime=RUNTIME)
    shard = gpu_host.engine / "model" / "checkpoint" / "rank3.safetensors"
    inode = shard.stat().st_ino
    (gpu_host.root / "elsewhere").rename(compiler)
    capsys.readouterr()
    gpu_host.build(SPLIT, runtime=RUNTIME)
    said = capsys.readouterr().err
    assert "tiny: building (not compiled)" in said
    assert "not done here" not in said
    assert (shard.stat().st_ino, gpu_host.damage) == (inode, [])
    assert gpu_host.manifest.compiled is not None
    gpu_host.build(SPLIT, runtime=RUNTIME)
    assert "tiny: up to date" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "key", "other", "reason"),
    [
        ("config.json", "version", "1.1.0", "compiled by TensorRT-LLM 1.1.0, and this is 1.2.1"),
        ("compiled_by.json", "capability", "8.0", "compiled for GPUs of compute capability 8.0, and these are of 9.0"),
    ],
)
def test_an_engine_that_this_machine_cannot_run_is_compiled_anew(  # noqa: PLR0917 - a case and its places
    gpu_host: Workshop,
    capsys: pytest.CaptureFixture[str],
    file: str,
    key: str,
    other: str,
    reason: str,
) -> None:
    with importable("1.2.1"):
        gpu_host.build(SPLIT, runtime=RUNTIME)
        gpu_host.build(SPLIT, runtime=RUNTIME)
        assert "tiny: up to date" in capsys.readouterr().err
        noted = gpu_host.engine / "model" / "engine" / file
        values = json.loads(noted.read_text())
        noted.write_text(json.dumps({**values, key: other}).ljust(noted.stat().st_size))
        gpu_host.build(SPLIT, runtime=RUNTIME)
        assert f"tiny: building ({reason})" in capsys.readouterr().err
        assert json.loads(noted.read_text())[key] == values[key]


def run_in_a_container(workshop: Workshop, command: str) -> None:
    """What the container would run, with its /model being the model directory, and its /source the checkpoint."""
    places = {"/source": str(workshop.checkpoint), "/model": f"{workshop.engine}/model"}
    words = [
        re.sub(r"(?<![\w/])/(source|model)\b", lambda found: places[found[0]], word) for word in shlex.split(command)
    ]
    inside = words[words.index("nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3") + 1 :]
    subprocess.run(inside, check=True, timeout=60, capture_output=True)


def test_a_compile_that_was_cut_off_counts_for_nothing(gpu_host: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    (gpu_host.root / "bin" / "trtllm-build").unlink()
    gpu_host.build(SPLIT, runtime=RUNTIME)
    half = gpu_host.engine / "model" / "engine"
    half.mkdir()
    (half / "config.json").write_text("{}")
    capsys.readouterr()
    gpu_host.build(SPLIT, runtime=RUNTIME)
    assert "not done here: compile" in capsys.readouterr().err


def test_a_quantized_build_without_a_gpu_leaves_all_of_it_to_one_command(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = workshop.build('[build]\nquantization = "fp8"', runtime=RUNTIME)
    said = capsys.readouterr().err
    assert f"--volume {workshop.checkpoint}:/source:ro" in said
    assert "quantize.py --model_dir /model/source" in said
    assert "--then trtllm-build" in said
    assert not (engine.directory / "model" / "checkpoint").exists()


def test_a_change_of_the_tokenizer_alone_neither_shards_nor_compiles_again(
    gpu_host: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu_host.build(SPLIT, runtime=RUNTIME)
    files = [f"{folder}/rank3.{suffix}" for folder, suffix in (("checkpoint", "safetensors"), ("engine", "engine"))]
    inodes = [(gpu_host.engine / "model" / file).stat().st_ino for file in files]
    gpu_host.configure("tokenizer_config.json", model_max_length=7)
    capsys.readouterr()
    gpu_host.build(SPLIT, runtime=RUNTIME)
    said = capsys.readouterr().err
    assert "building (tokenizer_config.json changed)" in said
    assert "  compiled shards: reused" in said
    assert [(gpu_host.engine / "model" / file).stat().st_ino for file in files] == inodes
    assert gpu_host.manifest.compiled is not None
    assert gpu_host.damage == []


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_the_shards_of_every_family_have_the_keys_that_its_model_reads(
    gpu_host: Workshop, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = {"phi3": 32, "gemma2": 128}.get(family, 64)  # sizes that attention has kernels for
    sizes: dict[str, Any] = {"hidden_size": 256, "head_dim": heads, "vocab_size": 320, "num_hidden_layers": 2}
    make_checkpoint(gpu_host.checkpoint, family, **sizes)
    split = "tensor_parallel = 2\nmoe_expert_parallel = 2\n" if family == "qwen3_moe" else "tensor_parallel = 2\n"
    engine = gpu_host.build(f"[build]\n{split}gpus_per_node = 4\nmax_seq_len = 64", runtime=RUNTIME)
    assert "not done here" not in capsys.readouterr().err
    config = json.loads((engine.directory / "model" / "engine" / "config.json").read_text())
    assert config["pretrained_config"]["mapping"]["gpus_per_node"] == 4


def test_the_quantizer_is_found_where_either_of_nvidias_images_has_it(
    gpu_host: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their paths are absolute, and of images that are not here."""
    quantizer = gpu_host.root / "release" / "quantize.py"
    quantizer.parent.mkdir()
    quantizer.write_text(QUANTIZE)
    absent = PurePosixPath(gpu_host.root / "nowhere" / "quantize.py")
    monkeypatch.setattr("build_scripts.tensorrt_llm.compile.QUANTIZERS", (absent, PurePosixPath(quantizer)))
    gpu_host.build('[build]\nquantization = "fp8"\ngpus_per_node = 2', runtime=RUNTIME)
    assert gpu_host.manifest.compiled is not None
    model = gpu_host.engine / "model"
    config = json.loads((model / "engine" / "config.json").read_text())
    assert config["pretrained_config"]["mapping"]["gpus_per_node"] == 2
    assert {file.name for file in (model / "source").iterdir()} == {"config.json"}


def test_the_pytorch_flow_compiles_nothing_and_takes_the_checkpoint_along(
    gpu_host: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = '[build]\nflow = "pytorch"\nmax_seq_len = 128\n[serve]\nkv_cache_free_gpu_memory_fraction = 0.5\n'
    limits += 'guided_decoding_backend = "llguidance"'
    engine = gpu_host.build(limits, runtime=RUNTIME)
    assert "not done here" not in capsys.readouterr().err
    model = engine.directory / "model"
    assert {path.name for path in model.iterdir()} == {"checkpoint"}
    weights = model / "checkpoint" / "model.safetensors"
    assert weights.samefile(gpu_host.checkpoint / "model.safetensors")
    settings = EngineConfig.load(engine.directory).tensorrt_llm
    assert settings is not None
    assert (settings.flow, settings.kv_cache_free_gpu_memory_fraction) == ("pytorch", 0.5)
    assert settings.guided_decoding_backend == "llguidance"
    card = EngineConfig.load(engine.directory).card
    assert (card.unsupported, card.max_logprobs) == (("lora_name",), 20)
    with importable("1.2.1"):  # what clients are told follows from the version that serves
        card = EngineConfig.load(gpu_host.build(limits, runtime=RUNTIME).directory).card
    assert (card.unsupported, card.max_logprobs) == (("lora_name", "priority"), 0)


def test_a_compiled_engine_has_logprobs_where_it_keeps_its_logits_and_needs_no_new_build_for_it(
    gpu_host: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    without = EngineConfig.load(gpu_host.build(runtime=RUNTIME).directory)
    assert "logprobs" in without.card.unsupported
    with pytest.raises(UnsupportedParameter, match="logprobs: the tensorrt_llm runtime cannot do this"):
        parse_request({"input_ids": [5]}, {"logprobs": 0}, without)
    capsys.readouterr()
    engine = gpu_host.build("[serve]\ngather_generation_logits = true", runtime=RUNTIME)
    assert "up to date" in capsys.readouterr().err
    config = EngineConfig.load(engine.directory)
    assert ("logprobs" in config.card.unsupported, config.card.max_logprobs) == (False, 20)
    assert llm_arguments(engine.directory / "model", config)["gather_generation_logits"] is True
    assert "gather_generation_logits" not in llm_arguments(engine.directory / "model", without)


def test_a_build_that_is_killed_takes_its_compiler_with_it(gpu_host: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpu_for_children(monkeypatch, gpu_host.root / "bin")
    noted = gpu_host.root / "pid"
    monkeypatch.setenv("TRTLLM_BUILD", "hang")
    monkeypatch.setenv("TRTLLM_PID", str(noted))
    gpu_host.write_spec(SPLIT, runtime=RUNTIME)
    with start(gpu_host) as process:
        deadline = time.monotonic() + DEADLINE_S
        while not noted.exists() or not noted.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        compiler = psutil.Process(int(noted.read_text()))
        process.send_signal(signal.SIGKILL)
    assert psutil.wait_procs([compiler], timeout=DEADLINE_S)[1] == []
    assert not gpu_host.engine.exists()
