"""What an engine must be made of, and whether that is what the built one is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from build_scripts.checkpoint import Checkpoint, CheckpointFacts, resolve
from build_scripts.exporters import EXPORTERS
from build_scripts.manifest import FORMAT, Inputs, Manifest, SourceFile, source_files
from build_scripts.render import sequence_length
from build_scripts.spec import EngineSpec


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """A spec, where it was read (for complaints), where its relative paths start, where built engines live."""

    spec: EngineSpec
    origin: str
    base: Path
    built: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """One build; its `spec` names the checkpoint as people do, not by a path of this machine."""

    spec: EngineSpec
    checkpoint: Checkpoint
    facts: CheckpointFacts
    source: tuple[SourceFile, ...]
    inputs: Inputs

    def reasons_to_build(self, directory: Path | None, built: Manifest | None) -> list[str]:
        """In words, why what is in `directory` will not do; empty if it will."""
        if directory is None:
            return ["not built yet"]
        if built is None:
            return ["built by another version"]
        return built.inputs.changes_to(self.inputs) + [f"{name} is damaged" for name in built.damage(directory)]


def make_plan(request: BuildRequest, built: Manifest | None) -> Plan:
    """Find the checkpoint, hash what `built` has not hashed, check the spec against it.

    Raises:
        SpecError: the spec asks for what the checkpoint cannot give.
        BuildError: the checkpoint cannot be found or used.
    """
    spec, exporter = request.spec, EXPORTERS[request.spec.runtime]
    checkpoint = resolve(spec.model, request.base)
    facts = checkpoint.facts()
    sequence_length(spec, facts, request.origin)
    source = source_files(checkpoint.directory, exporter.source_names(checkpoint), built.source_files if built else ())
    # A machine that only serves lacks the exporting packages: there the versions that built the engine stand.
    versions = built.inputs.versions if built and built.inputs.runtime == spec.runtime else {}
    inputs = Inputs(
        format=FORMAT,
        runtime=spec.runtime,
        settings={key: str(getattr(spec.build, key)) for key in exporter.settings},
        checkpoint={file.name: file.sha256 for file in source},
        versions={**versions, **exporter.versions()},
    )
    return Plan(spec.model_copy(update={"model": checkpoint.source}), checkpoint, facts, source, inputs)
