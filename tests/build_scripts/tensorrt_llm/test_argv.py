"""The commands that make an engine of TensorRT-LLM, word by word."""

from __future__ import annotations

import os
import shlex
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from build_scripts.spec.engine_spec import BuildSection, EngineSpec
from build_scripts.tensorrt_llm.argv import build_argv, convert_argv, docker_argv, quantize_argv

SHAPE: dict[str, Any] = {"tensor_parallel": 2, "pipeline_parallel": 2, "dtype": "bfloat16", "max_batch_size": 64}
BUILD = BuildSection.model_validate({**SHAPE, "max_num_tokens": 8192})


def spec(build: BuildSection) -> EngineSpec:
    return EngineSpec(name="tiny", model="m", runtime="tensorrt_llm", build=build)


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
    assert shlex.join(quantize_argv(PurePosixPath("/model"), build)) == (
        "python3 /app/examples/quantization/quantize.py --model_dir /model/source "
        f"--output_dir /model/checkpoint --dtype bfloat16 {formatted}"
    )


def test_the_docker_command_does_all_that_is_left_as_the_user_who_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    quantized = BuildSection.model_validate({**SHAPE, "quantization": "fp8", "tensor_parallel": 1})
    argv = docker_argv(Path("/b/tiny/model"), Path("/src"), spec(quantized), 4096, sharded=False)
    assert shlex.join(argv[: argv.index("--model_dir")]) == (
        "docker run --rm --gpus all --ipc host --ulimit memlock=-1 --ulimit stack=67108864 "
        f"--user {os.getuid()}:{os.getgid()} --env HOME=/tmp --env USER=conch --volume /src:/source:ro "
        f"--volume /b/tiny/model:/model --volume {tmp_path}:/cache --env HF_HOME=/cache --env HF_TOKEN "
        "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3 python3 /model/on_gpu_host.py "
        "--link /source /model/source --gpus-per-node 8 /model/engine python3 /app/examples/quantization/quantize.py"
    )
    assert argv[argv.index("--then") + 1] == "trtllm-build"


def test_shards_need_neither_the_checkpoint_nor_the_hub_on_the_gpu_host() -> None:
    argv = docker_argv(Path("/m"), Path("/src"), spec(BUILD), 4096, sharded=True)
    assert not {"--link", "HF_TOKEN", "/src:/source:ro"} & set(argv)


def test_the_gemm_plugin_is_that_of_the_quantization_where_the_spec_names_none() -> None:
    plugins = {}
    for quantization in ("none", "fp8", "nvfp4"):
        build = BuildSection.model_validate({**SHAPE, "quantization": quantization})
        argv = build_argv(PurePosixPath("/m"), build, 4096)
        plugins[quantization] = argv[argv.index("--gemm_plugin") + 1]
    assert plugins == {"none": "auto", "fp8": "auto", "nvfp4": "nvfp4"}


def test_the_hubs_cache_is_mounted_whole_because_its_files_are_links() -> None:
    snapshot = Path("/hub/models--o--m/snapshots/0a1b")
    argv = docker_argv(Path("/m"), snapshot, spec(BUILD), 4096, sharded=False)
    assert "/hub/models--o--m:/source:ro" in argv
    assert argv[argv.index("--link") + 1] == "/source/snapshots/0a1b"
    assert "LLM('/model/source'" in argv[-1]


def test_the_converters_program_is_python() -> None:
    program = convert_argv(PurePosixPath("/model"), BUILD, 4096)[-1]
    compile(program, "program", "exec")
    assert "tensor_parallel_size=2, pipeline_parallel_size=2" in program
