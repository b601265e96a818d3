"""Builds the models of runtime openvino."""

from __future__ import annotations

from pathlib import Path

from build_scripts.engine.builder import Builder, Export
from build_scripts.openvino.export import export_model, export_tokenizer
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.work import progress
from build_scripts.work.child import Child
from triton_repo.contract.engine_directory import EngineDirectory


class OpenVinoBuilder(Builder):
    """Exports a checkpoint as OpenVINO IR, in a child process."""

    packages = ("nncf", "openvino", "optimum-intel", "torch", "transformers")

    def settings(self, spec: EngineSpec) -> dict[str, str]:
        return {"dtype": spec.build.dtype, "quantization": spec.build.quantization}

    def export(self, export: Export) -> None:
        build = export.spec.build
        export.model.path.mkdir()
        with progress.step(f"export (dtype {build.dtype}, quantization {build.quantization})"):
            Child("export", export.log).call(
                export_model,
                checkpoint=str(export.checkpoint.directory),
                weights=[name for name in export.checkpoint.weight_files() if name.endswith(".safetensors")],
                output=str(export.model.path),
                dtype=build.dtype,
                quantization=build.quantization,
            )

    def finish_pair(self, engine: EngineDirectory, log: Path) -> None:
        """OpenVINO's form of the tokenizer for both: with a draft, the pipeline compares them."""
        models = [str(engine.model.path), str(engine.draft.path)]
        with progress.step("tokenizer for the draft"):
            Child("tokenizer", log).call(export_tokenizer, str(engine.tokenizer), models)
