"""The commands that make an engine of TensorRT-LLM, as values: its own programs, and Docker around them."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final

from build_scripts.spec.engine_spec import BuildSection, EngineSpec
from build_scripts.tensorrt_llm.on_gpu_host import GPUS_PER_NODE, LINK, THEN
from build_scripts.tensorrt_llm.sharding.quantization import QUANTIZATIONS
from triton_repo.contract.engine_directory import CHECKPOINT, COMPILED

Argv = tuple[str, ...]

IMAGE: Final = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
CONTAINER_MODEL: Final = PurePosixPath("/model")
CONTAINER_SOURCE: Final = PurePosixPath("/source")
# In IMAGE, which copies TensorRT-LLM's examples to /app, and in NVIDIA's release image of TensorRT-LLM.
QUANTIZERS: Final = (
    PurePosixPath("/app/examples/quantization/quantize.py"),
    PurePosixPath("/app/tensorrt_llm/examples/quantization/quantize.py"),
)
# In the model directory: what the quantizer and the converter read. Files of the checkpoint that must read otherwise
# lie there; `on_gpu_host.py` links the others.
SOURCE: Final = "source"
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
        "gemm_plugin": compile.gemm_plugin or ("nvfp4" if build.quantization == "nvfp4" else "auto"),
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


def quantize_argv(model: PurePosixPath, build: BuildSection, quantizer: PurePosixPath = QUANTIZERS[0]) -> Argv:
    """TensorRT-LLM's quantizer (ModelOpt): from `model`/source, quantized shards into `model`/checkpoint.

    All but the weight-only formats calibrate, on a data set that it fetches.
    """
    options: dict[str, object] = {
        "model_dir": model / SOURCE,
        "output_dir": model / CHECKPOINT,
        "dtype": build.dtype,
        "qformat": _QFORMATS[build.quantization],
        "awq_block_size": QUANTIZATIONS[build.quantization].group if build.quantization == "int4_awq" else None,
        "tp_size": build.tensor_parallel,
        "pp_size": build.pipeline_parallel,
    }
    return ("python3", str(quantizer), *_words(options))


def convert_argv(model: PurePosixPath, build: BuildSection, max_seq_len: int) -> Argv:
    """TensorRT-LLM's own converter and compiler in one, for architectures that Conch does not split itself.

    It reads `model`/source.
    """
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
        f"LLM({str(model / SOURCE)!r}, dtype={build.dtype!r}, {parallel}, "
        f"build_config=BuildConfig({', '.join(f'{key}={value}' for key, value in limits.items())}))"
        f".save({str(model / COMPILED)!r})"
    )
    return ("python3", "-c", program)


def gpu_commands(
    model: PurePosixPath,
    spec: EngineSpec,
    max_seq_len: int,
    *,
    sharded: bool,
    quantizer: PurePosixPath = QUANTIZERS[0],
) -> tuple[Argv, ...]:
    """The commands left for a GPU host; `sharded`: the shards are in `model`/checkpoint already."""
    build = spec.build
    if not sharded and build.quantization == "none":
        return (convert_argv(model, build, max_seq_len),)
    compile = build_argv(model, build, max_seq_len, spec.max_draft_len)
    return (compile,) if sharded else (quantize_argv(model, build, quantizer), compile)


def host_argv(python: str, model: PurePosixPath, commands: tuple[Argv, ...], *flags: str) -> Argv:
    """The commands, run by `on_gpu_host.py`."""
    first, *others = commands
    words = (*first, *(word for command in others for word in (THEN, *command)))
    return (python, str(model / HOST_SCRIPT), *flags, str(model / COMPILED), *words)


def source_flags(source: PurePosixPath, model: PurePosixPath, build: BuildSection) -> Argv:
    """For `on_gpu_host.py` where TensorRT-LLM's own programs read the checkpoint `source`, and not Conch's shards."""
    return (LINK, str(source), str(model / SOURCE), GPUS_PER_NODE, str(build.gpus_per_node))


def docker_argv(model: Path, source: Path, spec: EngineSpec, max_seq_len: int, *, sharded: bool) -> Argv:
    """The one command that finishes an engine on a GPU host: in NVIDIA's container, the model directory as /model.

    It runs as the user who asks for it: the files of the engine are that user's, and not root's.
    """
    root, inside = _source_mount(source)
    limits = ("--ipc", "host", "--ulimit", "memlock=-1", "--ulimit", "stack=67108864")
    # A user that the image does not know has no home, and torch asks for a name.
    user = ("--user", f"{os.getuid()}:{os.getgid()}", "--env", "HOME=/tmp", "--env", "USER=conch")
    mounts: Argv = ("--volume", f"{model}:{CONTAINER_MODEL}")
    flags: Argv = ()
    if not sharded:
        mounts = ("--volume", f"{root}:{CONTAINER_SOURCE}:ro", *mounts)
        mounts += () if spec.build.quantization == "none" else _hub_access()
        flags = source_flags(inside, CONTAINER_MODEL, spec.build)
    commands = gpu_commands(CONTAINER_MODEL, spec, max_seq_len, sharded=sharded)
    command = host_argv("python3", CONTAINER_MODEL, commands, *flags)
    return ("docker", "run", "--rm", "--gpus", "all", *limits, *user, *mounts, IMAGE, *command)


def _hub_access() -> Argv:
    """The quantizer fetches a data set to calibrate with: once, into the cache of the user, if there is one."""
    cache = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    kept = ("--volume", f"{cache}:/cache", "--env", "HF_HOME=/cache") if cache.is_dir() else ()
    return (*kept, "--env", "HF_TOKEN")


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
