"""What an engine must be made of, and whether that is what the built one is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from build_scripts.engine.manifest import FORMAT, Inputs, Manifest, SourceFile, source_files
from build_scripts.engine.render import sequence_length
from build_scripts.exporters import EXPORTERS, Verify
from build_scripts.source.adapters import FILES, Adapter, find_adapters
from build_scripts.source.checkpoint import Checkpoint, CheckpointFacts, resolve
from build_scripts.source.draft import Draft, find_draft
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.spec.errors import spec_error
from triton_repo.contract.engine_config import ADAPTERS


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """A spec, where it was read (for complaints), where its relative paths start, where built engines live.

    `gpu` is what the engine is to fit (`--gpu`), if anything; `verify` is how to verify its shards (`--verify`), if so.
    """

    spec: EngineSpec
    origin: str
    base: Path
    built: Path
    gpu: str | None = None
    verify: Verify | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One build; its `spec` names the checkpoints as people do, not by a path of this machine."""

    spec: EngineSpec
    checkpoint: Checkpoint
    facts: CheckpointFacts
    draft: Draft | None
    adapters: tuple[Adapter, ...]
    source: tuple[SourceFile, ...]
    inputs: Inputs
    verify: Verify | None

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
    if request.verify is not None and not exporter.has_shards(spec.build):
        rule = "--verify is for runtime tensorrt_llm, compiled from unquantized shards"
        raise spec_error(request.origin, "runtime", spec.runtime, rule)
    checkpoint = resolve(spec.model, request.base, exporter.formats)
    facts = checkpoint.facts()
    length = sequence_length(spec, facts, request.origin)
    spec = exporter.prepare(spec, checkpoint, request.origin, length, request.gpu)
    draft = find_draft(spec, facts, length, request.base, request.origin, exporter.formats)
    known = built.source_files if built else ()
    source = source_files(checkpoint.directory, exporter.source_names(checkpoint), known)
    if draft is not None:
        names = exporter.source_names(draft.checkpoint)
        source += source_files(draft.checkpoint.directory, names, known, prefix="draft/")
    adapters = find_adapters(spec, request.base, request.origin)
    for adapter in adapters:
        source += source_files(adapter.directory, FILES, known, prefix=f"{ADAPTERS}/{adapter.name}/")
    # A machine that only serves lacks the exporting packages: there the versions that built the engine stand.
    versions = built.inputs.versions if built and built.inputs.runtime == spec.runtime else {}
    inputs = Inputs(
        format=FORMAT,
        runtime=spec.runtime,
        settings=_settings(spec, exporter.settings),
        checkpoint={file.name: file.sha256 for file in source},
        versions={**versions, **exporter.versions()},
    )
    said = _as_people_say(spec, checkpoint, draft)
    return Plan(said, checkpoint, facts, draft, adapters, source, inputs, request.verify)


def _settings(spec: EngineSpec, keys: tuple[str, ...]) -> dict[str, str]:
    """What the model is built for; engines from before there was lookahead need no new build."""
    compiled_for = {"max_draft_len": str(spec.max_draft_len)} if spec.max_draft_len else {}
    return {key: str(getattr(spec.build, key)) for key in keys} | compiled_for


def _as_people_say(spec: EngineSpec, checkpoint: Checkpoint, draft: Draft | None) -> EngineSpec:
    named = spec.model_copy(update={"model": checkpoint.source})
    if draft is None or spec.speculative is None:
        return named
    section = spec.speculative.model_copy(update={"draft_model": draft.checkpoint.source})
    return named.model_copy(update={"speculative": section})
