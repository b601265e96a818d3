"""From shards to engines: here where TensorRT-LLM and a GPU are, else as one command for a GPU host."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Final

from build_scripts.engine.builder import Step
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.tensorrt_llm import on_gpu_host
from build_scripts.tensorrt_llm.argv import (
    HOST_SCRIPT,
    QUANTIZERS,
    Argv,
    docker_argv,
    gpu_commands,
    host_argv,
    source_flags,
)
from build_scripts.tensorrt_llm.export import link
from build_scripts.tensorrt_llm.output import BuildOutput
from build_scripts.work import progress
from triton_repo.contract.engine_directory import ModelDirectory
from triton_repo.contract.errors import BuildError
from triton_repo.contract.gpu import installed_gpus
from triton_repo.engine.runtimes.tensorrt_llm.engine import compiled_otherwise, installed

_TITLES: Final = {True: "compile", False: "convert and compile, by TensorRT-LLM"}
_IMAGES: Final = {"compiled": "docker/compiled.Dockerfile", "pytorch": "docker/current.Dockerfile"}  # by flow


def plan_steps(model: Path, source: Path, spec: EngineSpec, max_seq_len: int, *, own: bool) -> tuple[Step, ...]:
    """The steps of a build; `own`: Conch itself splits this architecture."""
    serve = Step(f"serve, in the image of {_IMAGES[spec.build.flow]}", "GPU host")
    if spec.build.flow == "pytorch":
        return (Step("checkpoint", "here"), serve)
    sharded = own and spec.build.quantization == "none"
    step = Step(_TITLES[sharded], "GPU host", docker_argv(model, source, spec, max_seq_len, sharded=sharded))
    return (Step("shards", "here"), step, serve) if sharded else (step, serve)


def remaining_steps(model: ModelDirectory, source: Path, spec: EngineSpec) -> tuple[Step, ...]:
    """What is left to do for a built engine with the model `model`: nothing once it is compiled."""
    build = spec.build
    if build.flow == "pytorch" or build.max_seq_len is None or model.read_compiled_by() is not None:
        return ()
    sharded = _is_sharded(model, spec)
    argv = docker_argv(model.path, source, spec, build.max_seq_len, sharded=sharded)
    return (Step(_TITLES[sharded], "GPU host", argv),)


def reason_to_compile(model: ModelDirectory, spec: EngineSpec) -> str | None:
    """Why this machine should compile (or recompile) the engine in `model`; None where it need not, or cannot."""
    build = spec.build
    if build.flow == "pytorch" or build.max_seq_len is None:
        return None
    if not _can_compile(_commands_here(model, spec, build.max_seq_len)):
        return None
    if model.read_compiled_by() is None:
        return "not compiled"
    here = installed()
    if here.tensorrt_llm is None:  # not installed for this Python: nothing to compare with
        return None
    otherwise = compiled_otherwise(model.compiled, here)
    return None if otherwise is None else f"compiled {otherwise}"


def compile_engine(model: ModelDirectory, source: Path, spec: EngineSpec, max_seq_len: int, log: Path) -> bool:
    """Compile the shards or the checkpoint; False where TensorRT-LLM or a GPU is missing.

    Raises:
        BuildError: TensorRT-LLM's own programs failed; with the reason that they gave, and the path of the log.
    """
    shutil.copyfile(on_gpu_host.__file__, model.path / HOST_SCRIPT)
    commands = _commands_here(model, spec, max_seq_len)
    if not _can_compile(commands):
        return False
    model.compiled.mkdir()
    sharded, here = _is_sharded(model, spec), PurePosixPath(model.path)
    ranks = spec.build.tensor_parallel * spec.build.pipeline_parallel
    flags = () if sharded else source_flags(PurePosixPath(source), here, spec.build)
    _run(host_argv(sys.executable, here, commands, on_gpu_host.TETHERED, *flags), _TITLES[sharded], ranks, log)
    return True


def reuse_compiled(former: ModelDirectory, model: ModelDirectory, spec: EngineSpec) -> bool:
    """Take over what was compiled from the same shards; False where that must be compiled again, or never was."""
    if not _is_sharded(former, spec) or former.read_compiled_by() is None or reason_to_compile(former, spec):
        return False
    progress.say("  compiled shards: reused")
    shutil.copyfile(on_gpu_host.__file__, model.path / HOST_SCRIPT)
    link(former.compiled, sorted(path.name for path in former.compiled.iterdir()), model.compiled)
    return True


def _commands_here(model: ModelDirectory, spec: EngineSpec, max_seq_len: int) -> tuple[Argv, ...]:
    quantizer = next((file for file in QUANTIZERS if Path(file).is_file()), QUANTIZERS[0])
    sharded = _is_sharded(model, spec)
    return gpu_commands(PurePosixPath(model.path), spec, max_seq_len, sharded=sharded, quantizer=quantizer)


def _run(argv: Argv, title: str, ranks: int, log: Path) -> None:
    output = BuildOutput()
    with progress.counted(title, ranks, "ranks") as show, log.open("ab", buffering=0) as file:
        # Nothing is ever written to stdin: it is open for as long as this process lives, which the child watches.
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
            try:
                for line in process.stdout or ():
                    file.write(line)
                    output.take(line.decode(errors="replace"))
                    show(output.engines, output.doing)
                status = process.wait()
            finally:
                process.kill()
    if status:
        raise BuildError(f"{title}: {output.reason} (exit code {status}; log: {log})")


def _is_sharded(model: ModelDirectory, spec: EngineSpec) -> bool:
    """Whether Conch's shards are in `model`; quantized ones are those of TensorRT-LLM, and maybe not all of them."""
    return model.checkpoint.is_dir() and spec.build.quantization == "none"


def _can_compile(commands: tuple[Argv, ...]) -> bool:
    """Every command is here, and so is TensorRT-LLM, which the programs of Python's import."""
    return shutil.which("trtllm-build") is not None and all(map(_can_run, commands)) and installed_gpus().count > 0


def _can_run(command: Argv) -> bool:
    program, first, *_ = command
    return shutil.which(program) is not None and (first not in map(str, QUANTIZERS) or Path(first).is_file())
