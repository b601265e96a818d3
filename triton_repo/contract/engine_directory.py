"""How a built engine lies on disk: the one description, for the build, the launcher and the models in Triton.

    model/              what the runtime loads, written by its builder
    draft/              the same of the draft model of speculative decoding
    adapters/NAME/      LoRA adapters: as PEFT writes them, or for runtime openvino fitted to its model
    tokenizer/          tokenizer.json, tokenizer_config.json, chat_template.jinja
    triton/             the model repository that tritonserver loads
    engine.json         EngineConfig: what the models in Triton know of the engine
    encoder.json        EncoderConfig: the same of an engine that makes no text, instead of engine.json
    manifest.json       what was built, from what, by which versions

Nothing in it names an absolute path: a built engine can be copied and mounted anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# In the model directory of runtime openvino: by which way it was exported, and where it was compared with
# transformers, how far they are apart.
EXPORTED_BY: Final = "exported_by.json"
VERIFIED: Final = "verified.json"
# Directories in the model directory of runtime tensorrt_llm, and the note next to the compiled files.
CHECKPOINT: Final = "checkpoint"
COMPILED: Final = "engine"
COMPILED_BY: Final = "compiled_by.json"
# In the directory of an adapter of runtime openvino: its matrices under the names of the exported model's operations.
FITTED: Final = "adapter.safetensors"


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """`model/` or `draft/`. Only runtime tensorrt_llm has directories in it."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Shards to compile, or in the PyTorch flow the checkpoint itself."""
        return self.path / CHECKPOINT

    @property
    def compiled(self) -> Path:
        return self.path / COMPILED

    @property
    def compiled_by(self) -> Path:
        """Versions and GPU that compiled it; written last."""
        return self.compiled / COMPILED_BY

    @property
    def exported_by(self) -> Path:
        return self.path / EXPORTED_BY

    @property
    def verified(self) -> Path:
        return self.path / VERIFIED

    def read_compiled_by(self) -> Mapping[str, str | None] | None:
        """None where it is not compiled, or not to its end."""
        try:
            note: Mapping[str, str | None] = json.loads(self.compiled_by.read_bytes())
        except (OSError, ValueError):
            return None
        return note


@dataclass(frozen=True, slots=True)
class EngineDirectory:
    """One built engine, at `path`."""

    path: Path

    @classmethod
    def of_triton_model(cls, model_repository: str) -> EngineDirectory:
        """Triton tells a Python model the directory of its `config.pbtxt`: `<engine>/triton/<model>`."""
        return cls(Path(model_repository).resolve().parents[1])

    @property
    def model(self) -> ModelDirectory:
        return ModelDirectory(self.path / "model")

    @property
    def draft(self) -> ModelDirectory:
        return ModelDirectory(self.path / "draft")

    @property
    def adapters(self) -> Path:
        return self.path / "adapters"

    def adapter(self, name: str) -> Path:
        return self.adapters / name

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer"

    @property
    def tokenizer_file(self) -> Path:
        return self.tokenizer / "tokenizer.json"

    @property
    def chat_template(self) -> Path:
        return self.tokenizer / "chat_template.jinja"

    @property
    def repository(self) -> Path:
        return self.path / "triton"

    @property
    def config_file(self) -> Path:
        return self.path / "engine.json"

    @property
    def encoder_config_file(self) -> Path:
        return self.path / "encoder.json"

    @property
    def manifest_file(self) -> Path:
        return self.path / "manifest.json"
