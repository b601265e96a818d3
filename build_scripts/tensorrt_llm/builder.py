"""Builds the models of runtime tensorrt_llm, as far as this machine can; `remaining` lists the other steps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

from build_scripts.architectures import (
    Decoder,
    NotCompiled,
    UnknownArchitecture,
    decoder_of,
    family_of,
    without_rope,
)
from build_scripts.engine.builder import Builder, Export, Fit, LengthLimit, Materials, Outline, Preview, Step
from build_scripts.sizing import model_shape
from build_scripts.sizing.ranks import RankSizes
from build_scripts.source.checkpoint import Checkpoint
from build_scripts.spec.engine_spec import BuildSection, EngineSpec
from build_scripts.tensorrt_llm.argv import SOURCE
from build_scripts.tensorrt_llm.compile import (
    compile_engine,
    plan_steps,
    reason_to_compile,
    remaining_steps,
    reuse_compiled,
)
from build_scripts.tensorrt_llm.export import link, write_checkpoint, write_texts
from build_scripts.tensorrt_llm.fitting.plan import make_fit_plan
from build_scripts.tensorrt_llm.fitting.ranks import rank_sizes
from build_scripts.tensorrt_llm.fitting.report import FitPreview, UncountedPreview
from build_scripts.tensorrt_llm.fitting.search import search
from build_scripts.tensorrt_llm.fitting.stored import stored_quantization
from build_scripts.tensorrt_llm.older_transformers import older_files
from build_scripts.tensorrt_llm.plan import (
    asked,
    check_converter,
    check_draft_split,
    has_weights,
    plan_shards,
    resolved,
    split_of,
    stored_weights,
)
from build_scripts.tensorrt_llm.report import ShardPreview
from build_scripts.tensorrt_llm.sharding.gpus import Gpus, find_gpus
from build_scripts.tensorrt_llm.sharding.layout import rank_files
from build_scripts.weights.huggingface import FORMATS, read_config, weight_files
from build_scripts.work import progress
from build_scripts.work.child import Child
from triton_repo.contract.engine_config import Flow
from triton_repo.contract.engine_directory import EngineDirectory, ModelDirectory
from triton_repo.contract.errors import BuildError

# Of a limited length, by the key of config.json.
_REASONS: Final = {
    "sliding_window": "the model's sliding_window: the engine looks back over all tokens",
    "original_max_position_embeddings": "beyond it the checkpoint's longrope changes the positions of a whole batch",
}
_FORMAT: Final = 2  # of what `export` writes; a higher one builds every engine of this runtime again


class TensorRtLlmBuilder(Builder):
    """Shards and compiles a checkpoint; for the PyTorch flow, links it as it is."""

    formats = FORMATS
    packages = ("torch",)

    def length_limit(self, checkpoint: Checkpoint, flow: Flow) -> LengthLimit | None:
        """A sliding window, within which such a model attends like any other, or factors for short sequences alone.

        Beyond a window neither flow of TensorRT-LLM 1.2 is right where all layers have it: its PyTorch flow, too,
        ignores Mistral's window until 1.3 (NVIDIA/TensorRT-LLM#12597), and Phi-3's. Gemma 3's, by layer, it knows.
        """
        config = read_config(checkpoint.directory, checkpoint.source)
        if family_of(config) is None:
            return None
        if flow == "compiled":
            limit = decoder_of(config, checkpoint.source).exact_length
            return None if limit is None else LengthLimit(limit[0], _REASONS[limit[1]])
        try:
            decoder = decoder_of(without_rope(config), checkpoint.source)
        except NotCompiled:
            return None
        window = None if decoder.full_every else decoder.sliding_window
        return None if window is None else LengthLimit(window, _REASONS["sliding_window"])

    def prepare(self, materials: Materials, fit: Fit, *, preview: bool) -> Outline:
        """This machine's GPUs count for a preview alone: it can compile the engines of others."""
        checkpoint = materials.checkpoint
        if materials.draft is not None:
            check_draft_split(materials.draft, materials.spec.build.tensor_parallel)
        spec = resolved(materials.spec, checkpoint, materials.max_seq_len)
        gpus = find_gpus(fit.gpu) if fit.gpu or preview else None
        outline = Outline(spec, self._preview(materials, spec, fit, gpus), _ranks(materials, spec, fit))
        if not preview and not has_weights(checkpoint.directory):
            raise BuildError(f"{checkpoint.source}: no weights in {checkpoint.directory}")
        return outline

    @staticmethod
    def _preview(materials: Materials, spec: EngineSpec, fit: Fit, gpus: Gpus | None) -> Preview:
        checkpoint, length = materials.checkpoint, materials.max_seq_len
        config = read_config(checkpoint.directory, checkpoint.source)
        stored = stored_quantization(checkpoint, config)
        request = asked(spec, checkpoint, stored, materials.origin, length, fit)
        if stored is not None and stored.how is None:
            gpus = None
        if family_of(config) is None:
            check_converter(spec, materials.origin, materials.facts.architecture)
        if fit.search:
            if stored is not None and stored.how is None:
                raise BuildError(f"--search: {request.notes[0]}")
            return search(spec, request, checkpoint, stored, gpus)
        model, source = materials.directory.model.path.absolute(), checkpoint.directory.absolute()
        try:
            shards = plan_shards(request, checkpoint, gpus, spec.build.flow)
        except UnknownArchitecture as unknown:  # TensorRT-LLM's own code reads it
            if isinstance(unknown, NotCompiled) and spec.build.flow == "compiled":
                raise
            steps = plan_steps(model, source, spec, length, own=False)
            try:
                shape = model_shape(config, checkpoint.source)
            except BuildError as uncounted:  # whether the model fits is not known, and TensorRT-LLM may run it
                return UncountedPreview(spec.name, str(uncounted), steps)
            plan = make_fit_plan(shape, request, stored_weights(request, stored), gpus, checkpoint.source)
            return FitPreview(spec.name, plan, spec.build.flow, steps)
        return ShardPreview(spec.name, shards, plan_steps(model, source, spec, length, own=True))

    def weight_files(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        return weight_files(checkpoint.directory)

    def settings(self, spec: EngineSpec) -> dict[str, str]:
        """What differs from its default in [build], and the size of lookahead.

        So a new key leaves built engines up to date, and another default needs a higher FORMAT of the manifest.
        `compile.workers` changes how long it takes to compile, and not what comes out.
        """
        values: dict[str, object] = {"format": _FORMAT, "max_draft_len": spec.max_draft_len}
        for key, value in spec.build.model_dump(exclude_defaults=True, exclude={"compile": {"workers"}}).items():
            if isinstance(value, dict):
                values |= {f"{key}.{name}": inner for name, inner in value.items()}
            else:
                values[key] = value
        return {key: str(value) for key, value in values.items()}

    def writes_shards(self, build: BuildSection) -> bool:
        return build.flow == "compiled" and build.quantization == "none"

    def export(self, export: Export) -> None:
        checkpoint, build, model = export.checkpoint, export.spec.build, export.model
        model.path.mkdir()
        tokenizer = EngineDirectory(model.path.parent).tokenizer  # TensorRT-LLM reads it for guides
        write_texts(older_files(tokenizer), tokenizer)
        older = older_files(checkpoint.directory)
        if build.flow == "pytorch":
            names = (*weight_files(checkpoint.directory), *checkpoint.text_files())
            link(checkpoint.directory, names, model.checkpoint, older)
            return
        config = read_config(checkpoint.directory, checkpoint.source)
        if build.quantization == "none" and family_of(config) is not None:
            shards = export.former.checkpoint if export.former else None
            if shards is not None and shards.is_dir():
                progress.say("  shards: reused")
                link(shards, sorted(path.name for path in shards.iterdir()), model.checkpoint)
            else:
                _write_shards(export, decoder_of(config, checkpoint.source))
            if export.verify is not None:
                export.verify(checkpoint, model.checkpoint, export.log)
        elif export.verify is not None:
            raise BuildError(f"{checkpoint.source}: --verify runs Conch's own shards; TensorRT-LLM converts this one")
        else:
            (model.path / SOURCE).mkdir()
            write_texts(older, model.path / SOURCE)
        if export.former is None or not reuse_compiled(export.former, model, export.spec):
            compile_engine(model, checkpoint.directory.absolute(), export.spec, export.max_seq_len, export.log)

    def reason_to_finish(self, model: ModelDirectory, source: Path, spec: EngineSpec) -> str | None:  # noqa: ARG002
        return reason_to_compile(model, spec)

    def remaining(self, model: ModelDirectory, source: Path, spec: EngineSpec) -> tuple[Step, ...]:
        return remaining_steps(model, source, spec)


def _ranks(materials: Materials, spec: EngineSpec, fit: Fit) -> RankSizes | None:
    checkpoint = materials.checkpoint
    config = read_config(checkpoint.directory, checkpoint.source)
    stored = stored_quantization(checkpoint, config)
    if stored is not None and stored.how is None:
        return None
    request = asked(spec, checkpoint, stored, materials.origin, materials.max_seq_len, fit)
    return rank_sizes(config, checkpoint.source, request, stored_weights(request, stored))


def _write_shards(export: Export, decoder: Decoder) -> None:
    build = export.spec.build
    parallel = split_of(build)
    total = sum(file.weight_bytes for file in rank_files(decoder, parallel, build.dtype))
    meter = export.model.path.with_name("written")
    with progress.metered(f"shards (tp {parallel.tp_size}, pp {parallel.pp_size}, {build.dtype})", total, meter):
        Child("shards", export.log).call(
            write_checkpoint,
            checkpoint=str(export.checkpoint.directory),
            source=export.checkpoint.source,
            output=str(export.model.checkpoint),
            split=asdict(parallel),
            dtype=build.dtype,
            meter=str(meter),
        )
