"""`engine.json`: what the Triton models know of a built engine. The build writes it, the models read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from triton_repo.sampling import Sampling
from triton_repo.tensors import ModelCard

FILE_NAME: Final = "engine.json"


class ReplayConfig(BaseModel):
    """What the `replay` runtime plays: the ids of a text, at a pace per stream (0 = as fast as it can)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_ids: Annotated[tuple[int, ...], Field(min_length=1)]
    tokens_per_second: Annotated[float, Field(ge=0)] = 0.0


class EngineConfig(BaseModel):
    """One engine as it runs: its limits, its batch, its cache, its defaults. Lengths are in tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    runtime: str
    max_seq_len: Annotated[int, Field(ge=2)]
    max_batch_size: Annotated[int, Field(ge=1)]
    max_num_tokens: Annotated[int, Field(ge=1)]
    vocab_size: Annotated[int, Field(ge=1)]
    eos_token_ids: tuple[int, ...]
    dtype: str
    kv_cache_dtype: str
    max_tokens_in_paged_kv_cache: Annotated[int, Field(ge=1)]
    enable_kv_cache_reuse: bool = True
    enable_chunked_context: bool = True
    num_threads: Annotated[int, Field(ge=1)] | None = None
    flush_interval_s: Annotated[float, Field(ge=0)] = 0.01
    sampling: Sampling = Sampling()
    replay: ReplayConfig | None = None
    card: ModelCard

    @classmethod
    def load(cls, engine_directory: Path) -> EngineConfig:
        return cls.model_validate_json((engine_directory / FILE_NAME).read_bytes())


def engine_directory(model_repository: str) -> Path:
    """The built engine that a Triton model belongs to.

    Triton tells a Python model the directory that holds its `config.pbtxt`: `<engine>/triton/<model>`. The engine is
    found from there, not from an absolute path, so that a built engine can be copied and mounted anywhere.
    """
    return Path(model_repository).resolve().parents[1]
