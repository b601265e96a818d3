"""Builds the models of runtime openvino, and checks each before it is published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from build_scripts.engine.builder import Builder, Export, LengthLimit
from build_scripts.openvino.adapters import write_fitted
from build_scripts.openvino.export import TOKENIZER_FILE, compress_weights, export_model, export_tokenizer
from build_scripts.openvino.limits import longest_sequence
from build_scripts.openvino.verify.trial import Trial
from build_scripts.source.checkpoint import Checkpoint
from build_scripts.source.lora.adapters import Adapter
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.weights.huggingface import read_config
from build_scripts.weights.safetensors import read_header
from build_scripts.weights.view import WEIGHT_DTYPES, LazyTensor
from build_scripts.work import progress
from build_scripts.work.child import Child
from build_scripts.work.disk import link_or_copy
from triton_repo.contract.engine_config import Flow
from triton_repo.contract.engine_directory import FITTED, EngineDirectory, ModelDirectory
from triton_repo.contract.errors import BuildError

_READ_DTYPES: Final = (*WEIGHT_DTYPES, "float64")  # of weights; a float64 is read as a narrower one
_EXPORTER = "3"  # a higher one rebuilds every engine: what is exported, or how it is checked, has changed


class OpenVinoBuilder(Builder):
    """Exports a checkpoint as OpenVINO IR, compares it with transformers and runs it as it is served, in children."""

    packages = ("nncf", "openvino", "optimum-intel", "torch", "transformers")

    def settings(self, spec: EngineSpec) -> dict[str, str]:
        return {"dtype": spec.build.dtype, "quantization": spec.build.quantization, "exporter": _EXPORTER}

    def length_limit(self, checkpoint: Checkpoint, flow: Flow) -> LengthLimit | None:  # noqa: ARG002
        tokens = longest_sequence(read_config(checkpoint.directory, checkpoint.source))
        reason = "beyond it the checkpoint's longrope changes the positions of a whole batch"
        return None if tokens is None else LengthLimit(tokens, reason)

    def export(self, export: Export) -> None:
        if export.former is not None:
            progress.say("  model: reused, and not exported again")
            _reuse(export.former, export.model)
            return
        build, model = export.spec.build, export.model
        tensors = _tensors(export.checkpoint)
        trial = Trial.of(export, sum(math.prod(tensor.shape) for tensor in tensors))
        model.path.mkdir()
        with progress.step(f"export (dtype {build.dtype})"):
            Child("export", export.log).call(
                export_model,
                checkpoint=str(export.checkpoint.directory),
                output=str(model.path),
                dtype=_narrower(build.dtype, tensors),
                prompts=trial.prompts,
                expected=str(trial.expected) if trial.expected else None,
            )
        trial.compare()
        if build.quantization != "none":
            with progress.step(f"compress (quantization {build.quantization})"):
                Child("compress", export.log).call(compress_weights, str(model.path), build.quantization)
        trial.serve()

    def add_adapter(self, adapter: Adapter, model: ModelDirectory, directory: Path) -> None:
        write_fitted(adapter.layers, model.path, directory / FITTED)

    def finish_pair(self, engine: EngineDirectory, log: Path) -> None:
        """OpenVINO's form of the tokenizer for both: with a draft, the pipeline compares them."""
        models = [str(engine.model.path), str(engine.draft.path)]
        with progress.step("tokenizer for the draft"):
            Child("tokenizer", log).call(export_tokenizer, str(engine.tokenizer), models)


def _reuse(former: ModelDirectory, model: ModelDirectory) -> None:
    """Everything but OpenVINO's form of the tokenizer, which `finish_pair` writes again."""
    model.path.mkdir()
    for file in former.path.iterdir():
        if file.stem != Path(TOKENIZER_FILE).stem:
            link_or_copy(file, model.path / file.name)


def _tensors(checkpoint: Checkpoint) -> list[LazyTensor]:
    """Raises: BuildError: weights are numbers that stand for others; config.json says nothing of it."""
    names = [name for name in checkpoint.weight_files() if name.endswith(".safetensors")]
    tensors = [tensor for name in names for tensor in read_header(checkpoint.directory / name).values()]
    for tensor in tensors:
        if tensor.name.endswith(".weight") and tensor.dtype not in _READ_DTYPES:
            allowed = ", ".join(_READ_DTYPES)
            raise BuildError(f"{tensor.origin}: {tensor.name}: dtype {tensor.dtype}; allowed: {allowed}")
    return tensors


def _narrower(dtype: str, tensors: Sequence[LazyTensor]) -> str:
    """The dtype to store: the one that was asked for, or the checkpoint's own where that is narrower."""
    stored = {tensor.dtype for tensor in tensors}
    return stored.pop() if dtype == "float32" and len(stored) == 1 and stored <= set(WEIGHT_DTYPES) else dtype
