"""One engine as a Triton model repository: the file tree that `tritonserver --model-repository` loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.steps import STEPS, step_model
from triton_repo.detokenize.config import model_config as detokenize_config
from triton_repo.engine.config import model_config as engine_config
from triton_repo.ensemble.config import model_config as ensemble_config
from triton_repo.model_config import to_pbtxt
from triton_repo.preprocess.config import model_config as preprocess_config

# 24.06: preprocess answers what takes long after its call, in Triton's default mode too.
OLDEST_TRITON: Final = (2, 47)
# Triton requires a version directory for the ensemble too, and git-like tools drop empty ones.
_ENSEMBLE_NOTE = b"An ensemble has no files of its own; Triton requires the version directory.\n"


def render(config: EngineConfig) -> Mapping[PurePosixPath, bytes]:
    """Relative path -> content of every file of the repository. Nothing in it names an absolute path."""
    files: dict[PurePosixPath, bytes] = {}
    for model in (
        ensemble_config(config.name, config.card),
        preprocess_config(config.name),
        engine_config(config.name),
        detokenize_config(config.name),
    ):
        files[PurePosixPath(model.name, "config.pbtxt")] = to_pbtxt(model).encode()
    for step in STEPS:
        source = Path(__file__).parent / step / "1" / "model.py"
        files[PurePosixPath(step_model(config.name, step), "1", "model.py")] = source.read_bytes()
    files[PurePosixPath(config.name, "1", "README")] = _ENSEMBLE_NOTE
    return files
