"""Builds engines that make embeddings, scores of pairs, or classes, each compared with transformers first."""

from __future__ import annotations

import json

from build_scripts.encoders.facts import Reading
from build_scripts.engine.builder import Builder, Export, Fit, LengthLimit, Materials, Outline
from build_scripts.source.checkpoint import Checkpoint
from build_scripts.source.encoder_modules import DENSE_WEIGHTS, has_modules, module_files
from build_scripts.spec.embed import EmbedSection
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.work import progress
from build_scripts.work.child import Child
from build_scripts.work.disk import link_or_copy
from triton_repo.contract.engine_config import Flow
from triton_repo.contract.errors import BuildError
from triton_repo.contract.steps import STEPS

_EXPORTER = "1"  # a higher one rebuilds every engine: what is exported, or how it is checked, has changed


class EncoderBuilder(Builder):
    """Exports a checkpoint, with the pooling that its own files name, as OpenVINO IR; in a child process."""

    packages = ("openvino", "torch", "transformers")

    def complete(self, spec: EngineSpec, checkpoint: Checkpoint) -> EngineSpec:
        if spec.build.max_seq_len is not None:
            return spec
        usual = _reading(checkpoint, spec).usual_tokens
        return spec.model_copy(update={"build": spec.build.model_copy(update={"max_seq_len": usual})})

    def length_limit(self, checkpoint: Checkpoint, flow: Flow) -> LengthLimit | None:  # noqa: ARG002
        tokens = Reading(checkpoint.directory, checkpoint.source, None).max_tokens
        return LengthLimit(tokens, "the network has positions for no more")

    def prepare(self, materials: Materials, fit: Fit, *, preview: bool) -> Outline:  # noqa: ARG002
        spec = materials.spec
        if spec.name.endswith(tuple(f"_{step}" for step in STEPS)):
            raise BuildError(f"name = {spec.name}; must not end like the model of a step: {', '.join(STEPS)}")
        reading = _reading(materials.checkpoint, spec)
        if not preview:
            _check_weights(reading)
        if not reading.is_classifier:
            pooling = " and ".join(reading.modules.pooling)
            if not has_modules(reading.directory) and (spec.embed is None or spec.embed.pooling is None):
                progress.say(
                    f"{spec.name}: pooling {pooling}: the checkpoint has no modules.json; embed.pooling names another"
                )
        return Outline(spec)

    def weight_files(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        return (*checkpoint.weight_files(), *module_files(checkpoint.directory))

    def settings(self, spec: EngineSpec) -> dict[str, str]:
        section = spec.embed or EmbedSection()
        built = section.model_dump(include={"pooling", "normalize", "matryoshka_dimensions"}, exclude_none=True)
        return {"exporter": _EXPORTER, **{name: json.dumps(value) for name, value in built.items()}}

    def export(self, export: Export) -> None:
        export.model.path.mkdir()
        if export.former is not None:
            progress.say("  model: reused, and not exported again")
            for file in export.former.path.iterdir():
                link_or_copy(file, export.model.path / file.name)
            return
        section = export.spec.embed or EmbedSection()
        with progress.step("export, and verify against transformers"):
            from build_scripts.encoders.export import export_encoder

            Child("export", export.log).call(
                export_encoder,
                checkpoint=str(export.checkpoint.directory),
                source=export.checkpoint.source,
                section=section.model_dump_json(),
                output=str(export.model.path),
            )


def _check_weights(reading: Reading) -> None:
    """Raises: BuildError: a layer that follows the network has none."""
    for layer in reading.modules.layers:
        if layer is not None and not (reading.directory / layer.folder / DENSE_WEIGHTS).is_file():
            raise BuildError(f"{reading.source}: no {DENSE_WEIGHTS} in {layer.folder}: a dense layer needs its weights")


def _reading(checkpoint: Checkpoint, spec: EngineSpec) -> Reading:
    return Reading(checkpoint.directory, checkpoint.source, spec.embed)
