"""From shards to an engine: the commands, their run, their failures, and what is left where there is no GPU."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path, PurePosixPath
from typing import Any

import psutil
import pytest

from build_scripts.manifest import Manifest
from build_scripts.spec import BuildSection, EngineSpec
from build_scripts.trtllm_argv import build_argv, convert_argv, docker_argv, quantize_argv
from build_scripts.trtllm_output import BuildOutput
from tests.build_scripts.conftest import Workshop, contents
from tests.build_scripts.gpu_host import write_programs
from tests.build_scripts.test_interruption import DEADLINE_S, start
from triton_repo.engine.config import EngineConfig
from triton_repo.engine.request import parse_request
from triton_repo.engine.tensorrt_llm_arguments import llm_arguments
from triton_repo.errors import BuildError, SpecError, UnsupportedParameter

SPLIT = "[build]\ntensor_parallel = 2\npipeline_parallel = 2\nmax_seq_len = 128\n"
RUNTIME = "tensorrt_llm"
SHAPE: dict[str, Any] = {"tensor_parallel": 2, "pipeline_parallel": 2, "dtype": "bfloat16", "max_batch_size": 64}
BUILD = BuildSection.model_validate({**SHAPE, "max_num_tokens": 8192})


@pytest.fixture
def gpu_host(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A workshop on a machine with TensorRT-LLM and a GPU."""
    programs = write_programs(workshop.root / "bin")
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VERSION", "13.1.0.036")
    return workshop


def test_trtllm_build_gets_every_limit_of_the_spec() -> None:
    assert shlex.join(build_argv(PurePosixPath("/model"), BUILD, 4096)) == (
        "trtllm-build --checkpoint_dir /model/checkpoint --output_dir /model/engine --max_batch_size 64 "
        "--max_num_tokens 8192 --max_seq_len 4096 --max_input_len 4096 --max_beam_width 1 --kv_cache_type paged "
        "--tokens_per_block 32 --use_paged_context_fmha enable --multiple_profiles disable --gemm_plugin auto "
        "--workers 4"
    )


def test_trtllm_build_gets_the_options_of_the_compile_table() -> None:
    options: dict[str, Any] = {
        "max_input_len": 1000,
        "max_beam_width": 4,
        "opt_num_tokens": 256,
        "tokens_per_block": 64,
        "gemm_plugin": "disable",
        "logits_dtype": "float16",
        "use_paged_context_fmha": False,
        "multiple_profiles": True,
        "workers": 1,
    }
    argv = build_argv(PurePosixPath("/m"), BuildSection.model_validate({**SHAPE, "compile": options}), 4096)
    given = dict(zip(argv[1::2], argv[2::2], strict=True))
    switches = {True: "enable", False: "disable"}
    assert {f"--{key}": switches.get(value, str(value)) for key, value in options.items() if value != 1} == {
        f"--{key}": given[f"--{key}"] for key, value in options.items() if value != 1
    }
    assert given["--workers"] == "1"


def test_sixteen_ranks_are_compiled_eight_at_a_time() -> None:
    wide = BuildSection.model_validate({"tensor_parallel": 8, "pipeline_parallel": 2})
    assert build_argv(PurePosixPath("/m"), wide, 64)[-2:] == ("--workers", "8")


@pytest.mark.parametrize(
    ("quantization", "formatted"),
    [
        ("int8", "--qformat int8_wo --tp_size 2 --pp_size 2"),
        ("int4", "--qformat int4_wo --tp_size 2 --pp_size 2"),
        ("fp8", "--qformat fp8 --tp_size 2 --pp_size 2"),
        ("int4_awq", "--qformat int4_awq --awq_block_size 128 --tp_size 2 --pp_size 2"),
        ("nvfp4", "--qformat nvfp4 --tp_size 2 --pp_size 2"),
    ],
)
def test_a_quantized_engine_goes_through_tensorrt_llms_quantizer(quantization: str, formatted: str) -> None:
    build = BuildSection.model_validate({**SHAPE, "quantization": quantization})
    assert shlex.join(quantize_argv(PurePosixPath("/source"), PurePosixPath("/model"), build)) == (
        "python3 /app/tensorrt_llm/examples/quantization/quantize.py --model_dir /source "
        f"--output_dir /model/checkpoint --dtype bfloat16 {formatted}"
    )


def test_the_docker_command_does_all_that_is_left() -> None:
    quantized = BuildSection.model_validate({**SHAPE, "quantization": "fp8", "tensor_parallel": 1})
    argv = docker_argv(Path("/b/tiny/model"), Path("/src"), quantized, 4096, sharded=False)
    assert shlex.join(argv[: argv.index("--model_dir")]) == (
        "docker run --rm --gpus all --ipc host --ulimit memlock=-1 --ulimit stack=67108864 --volume /src:/source:ro "
        "--volume /b/tiny/model:/model nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3 python3 "
        "/model/on_gpu_host.py /model/engine python3 /app/tensorrt_llm/examples/quantization/quantize.py"
    )
    assert argv[argv.index("--then") + 1] == "trtllm-build"
    assert "--volume /src" not in shlex.join(docker_argv(Path("/m"), Path("/src"), BUILD, 4096, sharded=True))


def test_the_hubs_cache_is_mounted_whole_because_its_files_are_links() -> None:
    snapshot = Path("/hub/models--o--m/snapshots/0a1b")
    argv = docker_argv(Path("/m"), snapshot, BUILD, 4096, sharded=False)
    assert "/hub/models--o--m:/source:ro" in argv
    assert "LLM('/source/snapshots/0a1b'" in argv[-1]


def test_the_converters_program_is_python() -> None:
    program = convert_argv(PurePosixPath("/source"), PurePosixPath("/model"), BUILD, 4096)[-1]
    compile(program, "program", "exec")
    assert "tensor_parallel_size=2, pipeline_parallel_size=2" in program


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
    noted = Manifest.load(engine.directory).compiled
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


@pytest.mark.parametrize("missing", ["trtllm-build", "nvidia-smi"])
def test_without_one_of_the_two_the_command_is_said_until_it_has_run(
    gpu_host: Workshop, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    program = gpu_host.root / "bin" / missing
    kept = program.read_bytes()
    program.unlink()
    gpu_host.build(SPLIT, runtime=RUNTIME)
    docker = capsys.readouterr().err.partition("on a GPU host:\n  ")[2].split("\n")[0]
    gpu_host.build(SPLIT, runtime=RUNTIME)
    assert docker in capsys.readouterr().err
    program.write_bytes(kept)
    program.chmod(0o755)
    run_in_a_container(gpu_host, docker)
    engine = gpu_host.build(SPLIT, runtime=RUNTIME)
    assert "not done here" not in capsys.readouterr().err
    assert Manifest.load(engine.directory).compiled is not None


def run_in_a_container(workshop: Workshop, command: str) -> None:
    """What the container would run, with its /model being the model directory."""
    words = [word.replace("/model", f"{workshop.engine}/model", 1) for word in shlex.split(command)]
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
    assert "quantize.py --model_dir /source" in said
    assert "--then trtllm-build" in said
    assert not (engine.directory / "model" / "checkpoint").exists()


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
    assert (card.unsupported, card.max_logprobs) == (("lora_name",), 0)


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


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["usage: trtllm-build", "trtllm-build: error: unrecognized arguments: --x"], "unrecognized arguments: --x"),
        (["[x] [TRT-LLM] [E] first", "[x] [TRT] [E] second", "RuntimeError: third"], "first"),
        (["RuntimeError: why", "AssertionError: Engine building failed, please check error log."], "RuntimeError: why"),
        (["torch.cuda.OutOfMemoryError: CUDA out of memory."], "torch.cuda.OutOfMemoryError: CUDA out of memory."),
        (["Killed", ""], "Killed"),
        ([], "it said nothing"),
    ],
)
def test_the_reason_is_the_cause_and_not_what_came_of_it(lines: list[str], reason: str) -> None:
    output = BuildOutput()
    for line in lines:
        output.take(line + "\n")
    assert output.reason == reason


def test_progress_counts_the_ranks_that_are_written() -> None:
    output, seen = BuildOutput(), []
    for line in (
        "[I] Total time of constructing network from module object 1.2 seconds",
        "[TRT-LLM] [I] Build TensorRT engine Unnamed Network 0",
        "[TRT-LLM] [I] Serializing engine to /model/engine/rank3.engine...",
        "[TRT-LLM] [I] Engine serialized. Total time: 00:00:14",
    ):
        output.take(line)
        seen.append((output.engines, output.doing))
    assert seen == [(0, "building the network"), (0, "compiling"), (0, "writing rank3"), (1, "writing rank3")]


@pytest.mark.parametrize(
    ("runtime", "text", "complaint"),
    [
        ("openvino", '[build]\nflow = "pytorch"', r'build\.flow = "pytorch"; must be compiled: runtime openvino'),
        ("openvino", "[build.compile]\nworkers = 2", r"build\.compile = .*needs runtime tensorrt_llm"),
        ("openvino", '[serve]\ncapacity_scheduler_policy = "max_utilization"', r"needs runtime tensorrt_llm, not"),
        (RUNTIME, '[build]\nflow = "pytorch"\nquantization = "fp8"', r"must be none where build\.flow = pytorch"),
        (RUNTIME, "[build]\nmax_seq_len = 64\n[build.compile]\nmax_input_len = 65", r"must be ≤ build\.max_seq_len"),
        (
            RUNTIME,
            "[build.compile]\nuse_paged_context_fmha = false",
            r"must be true where serve\.enable_kv_cache_reuse",
        ),
        (RUNTIME, "[build.compile]\ngemm_plugins = true", r"unknown key; allowed: max_input_len, max_beam_width"),
        (RUNTIME, "[build.compile]\ntokens_per_block = 48", r"tokens_per_block = 48; allowed: 32, 64, 128"),
        (RUNTIME, "[serve]\nkv_cache_free_gpu_memory_fraction = 1.5", r"= 1\.5; must be ≤ 1"),
        (RUNTIME, '[serve]\nguided_decoding_backend = "llguidance"', r"must be xgrammar where build\.flow = compiled"),
        (RUNTIME, '[serve]\nguided_decoding_backend = "outlines"', r"= \"outlines\"; allowed: xgrammar, llguidance"),
        ("openvino", '[serve]\nguided_decoding_backend = "xgrammar"', r"needs runtime tensorrt_llm, not openvino"),
        ("openvino", "[serve]\ngather_generation_logits = true", r"needs runtime tensorrt_llm, not openvino"),
        (RUNTIME, '[build]\nflow = "pytorch"\n[serve]\ngather_generation_logits = true', r"build\.flow = compiled"),
        (RUNTIME, '[sampling]\nguided_decoding_guide_type = "json"', r"is for a request to say: remove the key"),
        ("openvino", "[sampling]\nlogprobs = 1", r"is for a request to say: remove the key"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    workshop: Workshop, runtime: str, text: str, complaint: str
) -> None:
    with pytest.raises(SpecError, match=complaint):
        workshop.build(text, runtime=runtime)


def test_every_key_that_is_compiled_in_makes_a_new_build() -> None:
    from build_scripts.exporters import EXPORTERS

    assert set(EXPORTERS["tensorrt_llm"].settings) == set(BuildSection.model_fields)
    assert EngineSpec.model_validate({"name": "a", "model": "b", "runtime": RUNTIME}).build.max_batch_size == 256
