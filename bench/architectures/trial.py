"""Builds one architecture's small checkpoint as `conch build` does, which compares it with transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from bench.architectures.catalog import Architecture
from bench.architectures.checkpoint import write_checkpoint
from build_scripts.build import build
from build_scripts.plan import BuildRequest
from build_scripts.spec.reading import read_spec
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import BuildError

_LENGTH: Final = 512  # tokens; where a configuration names no length of its own
_LENGTH_KEYS: Final = ("max_position_embeddings", "n_positions")


class Result(BaseModel):
    """`reason` is why an architecture is rejected, and None where its engine equals transformers.

    Attributes:
        model_class: transformers' class.
        way: how it was exported.
        tokens: how many logprobs were compared.
        largest_difference: of one of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    model_class: str
    way: str | None = None
    tokens: int | None = None
    largest_difference: float | None = None
    reason: str | None = None


def try_architecture(architecture: Architecture, directory: Path) -> Result:
    """Make the checkpoint and the engine in the new `directory`."""
    checkpoint = directory / "checkpoint"
    write_checkpoint(architecture, checkpoint)
    config = json.loads((checkpoint / "config.json").read_bytes())
    result = Result(name=architecture.name, model_class=config["architectures"][0])
    spec: dict[str, object] = {"model": str(checkpoint), "name": "tried"}
    if not any(config.get(key) for key in _LENGTH_KEYS):
        spec["build.max_seq_len"] = _LENGTH
    try:
        engine = build(BuildRequest(read_spec(None, spec), "flags", directory, directory / "built", compare=True))
    except BuildError as error:
        return result.model_copy(update={"reason": str(error).partition(" (log: ")[0]})
    model = EngineDirectory(engine.directory).model
    verified = json.loads(model.verified.read_bytes())
    update = {key: verified[key] for key in ("tokens", "largest_difference")}
    return result.model_copy(update={**update, **json.loads(model.exported_by.read_bytes())})
