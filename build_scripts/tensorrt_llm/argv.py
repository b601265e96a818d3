"""The commands that make an engine of TensorRT-LLM, as values: its own programs, and Docker around them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final

from build_scripts.spec.engine_spec import BuildSection, EngineSpec
from build_scripts.tensorrt_llm.on_gpu_host import THEN
from build_scripts.tensorrt_llm.sharding.quantization import QUANTIZATIONS
from triton_repo.contract.engine_directory import CHECKPOINT, COMPILED

Argv = tuple[str, ...]

IMAGE: Final = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
CONTAINER_MODEL: Final = PurePosixPath("/model")
CONTAINER_SOURCE: Final = PurePosixPath("/source")
QUANTIZER: Final = PurePosixPath("/app/tensorrt_llm/examples/quantization/quantize.py")  # in NVIDIA's image
HOST_SCRIPT: Final = "on_gpu_host.py"  # build_scripts/tensorrt_llm/on_gpu_host.py, in the model directory

# The keys of [build.compile] that `convert_argv` passes on.
CONVERTER_KEYS: Final = frozenset({"max_input_len", "max_beam_width", "opt_num_tokens"})

_MAX_WORKERS: Final = 8  # GPUs of one machine
_QFORMATS: Final = {"int8": "int8_wo", "int4": "int4_wo", "fp8": "fp8", "int4_awq": "int4_awq", "nvfp4": "nvfp4"}


def build_argv(model: PurePosixPath, build: BuildSection, max_seq_len: int, max_draft_len: int = 0) -> Argv:
    """`trtllm-build` for the shards in `model`/checkpoint, with every limit of the spec.

    `max_draft_len` > 0 is for lookahead decoding; TensorRT-LLM adds it to `max_seq_len` itself.
    """
    compile = build.compile
    options: dict[str, object] = {
        "checkpoint_dir": model / CHECKPOINT,
        "output_dir": model / COMPILED,
        "max_batch_size": build.max_batch_size,
        "max_num_tokens": build.max_num_tokens,
        "max_seq_len": max_seq_len,
        "max_input_len": compile.max_input_len or max_seq_len,
        "max_beam_width": compile.max_beam_width,
        "opt_num_tokens": compile.opt_num_tokens,
        "kv_cache_type": "paged",
        "tokens_per_block": compile.tokens_per_block,
        "use_paged_context_fmha": _switch(compile.use_paged_context_fmha),
        "multiple_profiles": _switch(compile.multiple_profiles),
        "gemm_plugin": compile.gemm_plugin,
        "logits_dtype": compile.logits_dtype,
        "workers": compile.workers or min(build.tensor_parallel * build.pipeline_parallel, _MAX_WORKERS),
    }
    if build.lora is not None:
        options["lora_plugin"] = "auto"
        options["max_lora_rank"] = build.lora.max_rank
        options["lora_target_modules"] = build.lora.target_modules
    if max_draft_len:
        options["speculative_decoding_mode"] = "lookahead_decoding"
        options["max_draft_len"] = max_draft_len
    return ("trtllm-build", *_words(options))


def quantize_argv(source: PurePosixPath, model: PurePosixPath, build: BuildSection) -> Argv:
    """TensorRT-LLM's quantizer (ModelOpt): a HuggingFace checkpoint into quantized shards in `model`/checkpoint.

    All but the weight-only formats calibrate, on a data set that it fetches.
    """
    options: dict[str, object] = {
        "model_dir": source,
        "output_dir": model / CHECKPOINT,
        "dtype": build.dtype,
        "qformat": _QFORMATS[build.quantization],
        "awq_block_size": QUANTIZATIONS[build.quantization].group if build.quantization == "int4_awq" else None,
        "tp_size": build.tensor_parallel,
        "pp_size": build.pipeline_parallel,
    }
    return ("python3", str(QUANTIZER), *_words(options))


def convert_argv(source: PurePosixPath, model: PurePosixPath, build: BuildSection, max_seq_len: int) -> Argv:
    """TensorRT-LLM's own converter and compiler in one: for architectures that Conch does not split itself."""
    limits = {
        "max_batch_size": build.max_batch_size,
        "max_num_tokens": build.max_num_tokens,
        "max_seq_len": max_seq_len,
        "max_input_len": build.compile.max_input_len or max_seq_len,
        "max_beam_width": build.compile.max_beam_width,
        "opt_num_tokens": build.compile.opt_num_tokens,
    }
    parallel = f"tensor_parallel_size={build.tensor_parallel}, pipeline_parallel_size={build.pipeline_parallel}"
    program = (
        "from tensorrt_llm import BuildConfig; from tensorrt_llm._tensorrt_engine import LLM; "
        f"LLM({str(source)!r}, dtype={build.dtype!r}, {parallel}, "
        f"build_config=BuildConfig({', '.join(f'{key}={value}' for key, value in limits.items())}))"
        f".save({str(model / COMPILED)!r})"
    )
    return ("python3", "-c", program)


def gpu_commands(
    source: PurePosixPath, model: PurePosixPath, spec: EngineSpec, max_seq_len: int, *, sharded: bool
) -> tuple[Argv, ...]:
    """The commands left for a GPU host; `sharded`: the shards are in `model`/checkpoint already."""
    build = spec.build
    if not sharded and build.quantization == "none":
        return (convert_argv(source, model, build, max_seq_len),)
    compile = build_argv(model, build, max_seq_len, spec.max_draft_len)
    return (compile,) if sharded else (quantize_argv(source, model, build), compile)


def host_argv(python: str, model: PurePosixPath, commands: tuple[Argv, ...], *flags: str) -> Argv:
    """The commands, run by `on_gpu_host.py`."""
    first, *others = commands
    words = (*first, *(word for command in others for word in (THEN, *command)))
    return (python, str(model / HOST_SCRIPT), *flags, str(model / COMPILED), *words)


def docker_argv(model: Path, source: Path, spec: EngineSpec, max_seq_len: int, *, sharded: bool) -> Argv:
    """The one command that finishes an engine on a GPU host: in NVIDIA's container, the model directory as /model."""
    root, inside = _source_mount(source)
    mounts: Argv = ("--volume", f"{model}:{CONTAINER_MODEL}")
    if not sharded:
        mounts = ("--volume", f"{root}:{CONTAINER_SOURCE}:ro", *mounts)
    limits = ("--ipc", "host", "--ulimit", "memlock=-1", "--ulimit", "stack=67108864")
    commands = gpu_commands(inside, CONTAINER_MODEL, spec, max_seq_len, sharded=sharded)
    command = host_argv("python3", CONTAINER_MODEL, commands)
    return ("docker", "run", "--rm", "--gpus", "all", *limits, *mounts, IMAGE, *command)


def _source_mount(source: Path) -> tuple[Path, PurePosixPath]:
    """What to mount as /source, and the checkpoint's path in it: files of the hub's cache link to its other folders."""
    if source.parent.name != "snapshots":
        return source, CONTAINER_SOURCE
    return source.parents[1], CONTAINER_SOURCE / "snapshots" / source.name


def _switch(on: bool) -> str:
    return "enable" if on else "disable"


def _words(options: dict[str, object]) -> Argv:
    words: list[object] = []
    for key, value in options.items():
        if value is not None:
            words += [f"--{key}", *(value if isinstance(value, tuple) else (value,))]
    return tuple(map(str, words))
