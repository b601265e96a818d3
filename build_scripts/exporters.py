"""Runtime -> how a checkpoint becomes its model. A new runtime is one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from build_scripts.architectures import Decoder, decoder_of, family_of
from build_scripts.openvino import export as openvino_export
from build_scripts.source.checkpoint import Checkpoint
from build_scripts.source.draft import write_tokenizers
from build_scripts.spec.engine_spec import BuildSection, EngineSpec
from build_scripts.tensorrt_llm import compile as trtllm_compile
from build_scripts.tensorrt_llm import export as trtllm_export
from build_scripts.tensorrt_llm import plan as trtllm_plan
from build_scripts.tensorrt_llm.compile import Step
from build_scripts.tensorrt_llm.sharding.layout import rank_files
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.weights.huggingface import FORMATS, SAFETENSORS, Format, read_config, weight_files
from build_scripts.work import progress
from build_scripts.work.child import Child
from triton_repo.contract.capabilities import Runtime
from triton_repo.contract.distribution import install_command, installed_version
from triton_repo.contract.errors import BuildError
from triton_repo.engine.runtimes.tensorrt_llm.arguments import CHECKPOINT

Verify = Callable[[Checkpoint, Path, Path], None]  # of the shards in a directory, with a log; raises BuildError


@dataclass(frozen=True, slots=True)
class Exporter:
    """How one runtime builds.

    Attributes:
        export: writes the model into a new directory, and has its shards verified if it is given how to; None where
            the runtime has no weights.
        has_shards: whether a build writes something that can be verified.
        settings: the keys of [build] that `export` reads; a change of any other needs no new build.
        packages: distributions whose versions show in what `export` writes.
        prepare: refuses what can be refused before anything is read, and fills in what the spec leaves open.
        formats: of weights that it reads, in order of preference.
        weight_files: names of the checkpoint's files that hold the weights.
        reason_to_finish: why this machine should build an engine once more that lacks nothing but what another machine
            could not do; it gets the model directory and that of the checkpoint.
        remaining: the steps that are left for another machine once the model directory is published; it gets that and
            the directory of the checkpoint.
        pair: what a model and its draft need beyond their exports; it gets the tokenizer, both directories and a log.
    """

    export: Callable[[Checkpoint, EngineSpec, Path, Path, Verify | None], None] | None = None
    settings: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    prepare: Callable[[EngineSpec, Checkpoint, str, int, str | None], EngineSpec] = lambda spec, *_: spec
    formats: tuple[Format, ...] = SAFETENSORS
    weight_files: Callable[[Checkpoint], tuple[str, ...]] = Checkpoint.weight_files
    reason_to_finish: Callable[[Path, Path, EngineSpec], str | None] = lambda *_: None
    remaining: Callable[[Path, Path, EngineSpec], tuple[Step, ...]] = lambda *_: ()
    has_shards: Callable[[BuildSection], bool] = lambda _: False
    pair: Callable[[Path, list[Path], Path], None] = lambda *_: None

    def source_names(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """Files of the checkpoint that the engine is made of."""
        weights = () if self.export is None else self.weight_files(checkpoint)
        return (*weights, *checkpoint.text_files())

    def versions(self) -> dict[str, str]:
        """Of the packages that are installed; a machine that only serves has few of them."""
        installed = {name: installed_version(name) for name in self.packages}
        return {name: version for name, version in installed.items() if version is not None}

    def require_packages(self) -> None:
        """Raises: BuildError: a package that the export needs is not installed."""
        absent = sorted(set(self.packages) - set(self.versions()))
        if absent:
            raise BuildError(f"building needs {', '.join(absent)}: {install_command('build', 'openvino')}")


def _export_openvino(checkpoint: Checkpoint, spec: EngineSpec, output: Path, log: Path, _: Verify | None) -> None:
    build = spec.build
    with progress.step(f"export (dtype {build.dtype}, quantization {build.quantization})"):
        Child("export", log).call(
            openvino_export.export,
            checkpoint=str(checkpoint.directory),
            weights=[name for name in checkpoint.weight_files() if name.endswith(".safetensors")],
            output=str(output),
            dtype=build.dtype,
            quantization=build.quantization,
        )


def _export_tensorrt_llm(
    checkpoint: Checkpoint, spec: EngineSpec, output: Path, log: Path, verify: Verify | None
) -> None:
    """Whatever of it can be done here; `remaining` says the rest."""
    build = spec.build
    if build.flow == "pytorch":
        names = (*weight_files(checkpoint.directory), *checkpoint.text_files())
        trtllm_export.link(checkpoint.directory, names, output / CHECKPOINT)
        return
    config = read_config(checkpoint.directory, checkpoint.source)
    if build.quantization == "none" and family_of(config) is not None:
        if not (output / CHECKPOINT).is_dir():
            _write_shards(checkpoint, decoder_of(config, checkpoint.source), build, output, log)
        if verify is not None:
            verify(checkpoint, output / CHECKPOINT, log)
    elif verify is not None:
        raise BuildError(f"{checkpoint.source}: --verify runs Conch's own shards; TensorRT-LLM converts this one")
    length = build.max_seq_len or 0  # `prepare` has filled it in
    trtllm_compile.compile_engine(output, checkpoint.directory.absolute(), spec, length, log)


def _write_shards(checkpoint: Checkpoint, decoder: Decoder, build: BuildSection, output: Path, log: Path) -> None:
    tp, pp = build.tensor_parallel, build.pipeline_parallel
    total = sum(file.weight_bytes for file in rank_files(decoder, Parallelism(tp, pp), build.dtype))
    meter = output.with_name("written")
    with progress.metered(f"shards (tp {tp}, pp {pp}, {build.dtype})", total, meter):
        Child("shards", log).call(
            trtllm_export.export,
            checkpoint=str(checkpoint.directory),
            source=checkpoint.source,
            output=str(output / CHECKPOINT),
            tp=tp,
            pp=pp,
            dtype=build.dtype,
            meter=str(meter),
        )


EXPORTERS: Final[Mapping[Runtime, Exporter]] = {
    "openvino": Exporter(
        export=_export_openvino,
        settings=("dtype", "quantization"),
        packages=("nncf", "openvino", "optimum-intel", "torch", "transformers"),
        pair=write_tokenizers,
    ),
    "tensorrt_llm": Exporter(
        export=_export_tensorrt_llm,
        settings=(
            "dtype",
            "quantization",
            "tensor_parallel",
            "pipeline_parallel",
            "max_seq_len",
            "max_batch_size",
            "max_num_tokens",
            "flow",
            "compile",
            "lora",
        ),
        packages=("torch",),
        prepare=trtllm_plan.prepare,
        formats=FORMATS,
        weight_files=lambda checkpoint: weight_files(checkpoint.directory),
        reason_to_finish=trtllm_compile.reason_to_compile,
        remaining=trtllm_compile.remaining_steps,
        has_shards=lambda build: build.flow == "compiled" and build.quantization == "none",
    ),
    "replay": Exporter(),
}
