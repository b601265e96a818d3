"""The settings of a sweep as engine specs, all of them checked before anything starts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from bench.sweep.grid import Axis, Settings, Value, combinations, label
from build_scripts.engine.manifest import Manifest
from build_scripts.engine.store import EngineStore
from build_scripts.plan import BuildRequest, Plan, make_plan, prepare_build
from build_scripts.spec.engine_spec import BuildSection, EngineSpec, ServeSection
from build_scripts.spec.reading import read_spec
from build_scripts.spec.speculative import SpeculativeSection
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import BenchError, BuildError, SpecError
from triton_repo.contract.workers import MAX_WORKERS

_SECTIONS: Final[Mapping[str, type[BaseModel]]] = {
    "build": BuildSection,
    "serve": ServeSection,
    "speculative": SpeculativeSection,
}
WORKERS: Final = "workers"  # the one setting that is a flag of `conch serve`: gateway processes
KEYS: Final = (*(f"{name}.{key}" for name, section in _SECTIONS.items() for key in section.model_fields), WORKERS)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One combination of settings.

    Attributes:
        spec: complete; the checkpoints that it names are hub ids or absolute paths: it can be read from anywhere.
        engine: fingerprint of what has to be built for it; candidates that share it share the engine.
        workers: gateway processes.
    """

    settings: Settings
    spec: EngineSpec
    engine: str
    workers: int = 1

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of `conch serve`, in addition to the spec."""
        return () if self.workers == 1 else ("--workers", str(self.workers))


def own_value(spec: EngineSpec, key: str) -> Value:
    """The spec's value of one of the `KEYS`; None where it has none."""
    if key == WORKERS:
        return 1
    section, _, name = key.partition(".")
    value: Value = getattr(getattr(spec, section), name, None)  # a section may be absent, and so None
    return value


def candidates(file: Path, axes: Sequence[Axis]) -> list[Candidate]:
    """Every combination, in the order of the grid.

    Raises:
        BenchError, SpecError: one is not allowed by the spec's rules or by the checkpoint; names it.
        BuildError: the checkpoint cannot be found or used.
    """
    base = read_spec(file)
    known = None
    found = []
    for settings in combinations(axes):
        try:
            spec = _movable(read_spec(file, _overrides(base, settings)), file.parent)
            known = known or _built(file.parent / "built", spec.name)
            request = BuildRequest(spec, str(file), file.parent, file.parent / "built")
            with prepare_build(request) as prepared:
                plan = make_plan(prepared, known)
        except SpecError as error:
            raise SpecError(f"{label(settings)}: {error}") from error
        known = known or _as_built(plan)  # so that the checkpoint is hashed once
        workers = _workers(settings.get(WORKERS, 1))
        found.append(Candidate(settings, spec, plan.inputs.fingerprint, workers))
    return found


def _overrides(base: EngineSpec, settings: Settings) -> dict[str, Value]:
    """Keys of the spec. None leaves out what the spec leaves out: so `speculative.mode=null` asks for no such table."""
    keys = {key: value for key, value in settings.items() if key != WORKERS}
    return {key: value for key, value in keys.items() if value is not None or own_value(base, key) is not None}


def _workers(value: Value) -> int:
    if type(value) is not int or not 1 <= value <= MAX_WORKERS:
        raise BenchError(f"--vary {label({WORKERS: value})}: must be a whole number from 1 to {MAX_WORKERS}")
    return value


def _movable(spec: EngineSpec, base: Path) -> EngineSpec:
    """The spec with absolute paths instead of paths relative to its file."""
    return spec.model_copy(
        update={
            "model": _absolute(spec.model, base),
            "build": _movable_build(spec.build, base),
            "speculative": _movable_speculative(spec.speculative, base),
        }
    )


def _movable_build(build: BuildSection, base: Path) -> BuildSection:
    if build.lora is None:
        return build
    adapters = {name: _absolute(directory, base) for name, directory in build.lora.adapters.items()}
    return build.model_copy(update={"lora": build.lora.model_copy(update={"adapters": adapters})})


def _movable_speculative(section: SpeculativeSection | None, base: Path) -> SpeculativeSection | None:
    if section is None or section.draft_model is None:
        return section
    return section.model_copy(update={"draft_model": _absolute(section.draft_model, base)})


def _absolute(model: str, base: Path) -> str:
    """A hub id stays as it is."""
    directory = base / model
    return str(directory.resolve()) if directory.is_dir() else model


def _built(directory: Path, name: str) -> Manifest | None:
    """The manifest of the user's own engine, which has the hashes of its checkpoint."""
    try:
        engine = EngineStore(directory, name).current()
        return Manifest.load(EngineDirectory(engine)) if engine else None
    except BuildError:  # of another version
        return None


def _as_built(plan: Plan) -> Manifest:
    return Manifest(
        inputs=plan.inputs,
        created=int(time.time()),
        conch="",
        spec=plan.spec,
        facts=plan.prepared.materials.facts,
        chat=False,
        source_files=plan.source,
        files={},
    )
