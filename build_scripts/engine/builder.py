"""What makes the model of an engine, by runtime: the protocol that each builder follows, and its values."""
# ruff: noqa: ARG002 - what a runtime does not override ignores its arguments

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from rich.console import Console

from build_scripts.sizing.ranks import RankSizes
from build_scripts.source.checkpoint import Checkpoint, CheckpointFacts
from build_scripts.source.draft import Draft
from build_scripts.source.lora.adapters import Adapter
from build_scripts.spec.engine_spec import BuildSection, EngineSpec
from build_scripts.weights.huggingface import SAFETENSORS, Format
from triton_repo.contract.engine_config import Flow
from triton_repo.contract.engine_directory import EngineDirectory, ModelDirectory

Verify = Callable[[Checkpoint, Path, Path], None]  # of the shards in a directory, with a log; raises BuildError


@dataclass(frozen=True, slots=True)
class Fit:
    """What an engine is to fit: `--gpu` (None is no one in particular), and how much of each GPU is left to others.

    `search`: a preview is to show every split and quantization, and not only the one of the spec.
    """

    gpu: str | None = None
    reserve_bytes: int | None = None
    search: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a build, as `--plan` shows it; `argv` is empty for what Conch itself does."""

    title: str
    where: Literal["here", "GPU host"]
    argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Materials:
    """A spec and what was found for it. `directory` is where the engine will lie; `max_seq_len` is in tokens."""

    spec: EngineSpec
    origin: str
    directory: EngineDirectory
    checkpoint: Checkpoint
    facts: CheckpointFacts
    max_seq_len: int
    draft: Draft | None
    adapters: tuple[Adapter, ...]


@dataclass(frozen=True, slots=True)
class LengthLimit:
    """Tokens of prompt and answer together up to which a runtime computes what the model computes, and why no more."""

    tokens: int
    reason: str


class Preview(Protocol):
    """What a build will write, for `--plan`."""

    @property
    def steps(self) -> tuple[Step, ...]: ...

    def to_json(self) -> dict[str, Any]: ...

    def print(self, console: Console) -> None: ...


@dataclass(frozen=True, slots=True)
class Outline:
    """What a builder finds out without reading weights: the spec with nothing left open, a preview, and sizes."""

    spec: EngineSpec
    preview: Preview | None = None
    ranks: RankSizes | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """One model to write into `model`, for `max_seq_len` tokens of prompt and answer together.

    Attributes:
        log: takes the output of child processes.
        verify: how to verify the shards, if that is asked for.
        compare: whether to compare a CPU engine with transformers; None leaves it to the builder.
        former: a model of the same weights and settings, which can be reused in whole or in part: that of an engine
            that differs in its tokenizer, or was left unfinished by another machine.
    """

    checkpoint: Checkpoint
    spec: EngineSpec
    model: ModelDirectory
    max_seq_len: int
    log: Path
    verify: Verify | None = None
    compare: bool | None = None
    former: ModelDirectory | None = None


class Builder(Protocol):
    """How the engines of one runtime are built. A class derives from it and overrides what its runtime has.

    Attributes:
        formats: of weights that it reads, in order of preference.
        packages: distributions whose versions show in what `export` writes.
    """

    formats: tuple[Format, ...] = SAFETENSORS
    packages: tuple[str, ...] = ()

    def complete(self, spec: EngineSpec, checkpoint: Checkpoint) -> EngineSpec:
        """The spec with what it leaves open as the checkpoint says, where that is not left to other rules."""
        return spec

    def length_limit(self, checkpoint: Checkpoint, flow: Flow) -> LengthLimit | None:
        """What ends sequences before the checkpoint's own context does, if anything. Raises: BuildError."""
        return None

    def prepare(self, materials: Materials, fit: Fit, *, preview: bool) -> Outline:
        """Check what can be checked before weights are read, and fill in what the spec leaves open.

        A preview needs no weights, and is for this machine's GPUs where `fit` names none.

        Raises:
            BuildError: the checkpoint cannot be used.
            SpecError: the spec asks for what cannot be built.
        """
        return Outline(materials.spec)

    def weight_files(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """Names of the checkpoint's files that hold the weights."""
        return checkpoint.weight_files()

    def settings(self, spec: EngineSpec) -> dict[str, str]:
        """The values of the spec that `export` builds for, by key; a change of any other needs no new build."""
        return {}

    def writes_shards(self, build: BuildSection) -> bool:
        """Whether `export` writes shards that can be verified."""
        return False

    def export(self, export: Export) -> None:
        """Write a model, as far as this machine can. Raises: BuildError."""
        return

    def add_adapter(self, adapter: Adapter, model: ModelDirectory, directory: Path) -> None:
        """Write one for an exported model, into a new directory. Raises: BuildError: it does not fit the model."""
        adapter.copy_to(directory)

    def finish_pair(self, engine: EngineDirectory, log: Path) -> None:
        """Write what a model and its draft need in addition to their exports."""
        return

    def reason_to_finish(self, model: ModelDirectory, source: Path, spec: EngineSpec) -> str | None:
        """Why this machine should build an engine again that another one could not finish; None where it need not.

        `source` is the directory of the checkpoint.
        """
        return None

    def remaining(self, model: ModelDirectory, source: Path, spec: EngineSpec) -> tuple[Step, ...]:
        """The steps that are left for another machine once the engine is published."""
        return ()
