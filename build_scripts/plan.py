"""What an engine must be made of, and whether that is what the built one is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from build_scripts.builders import BUILDERS
from build_scripts.encoders.detection import is_encoder
from build_scripts.engine.builder import Builder, Fit, LengthLimit, Materials, Preview, Verify
from build_scripts.engine.manifest import FORMAT, Inputs, Manifest, SourceFile, source_files
from build_scripts.engine.memory import least_cache_tokens, num_pipelines, tokens_in_cache
from build_scripts.sizing.numbers import CONTEXT_KEYS
from build_scripts.sizing.ranks import RankSizes
from build_scripts.source.checkpoint import Checkpoint, CheckpointFacts, resolve
from build_scripts.source.draft import Draft, check_draft
from build_scripts.source.lora.adapters import find_adapters
from build_scripts.source.lora.peft import FILES
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.spec.errors import spec_error
from build_scripts.spec.reading import for_runtime
from build_scripts.work import progress
from triton_repo.contract.distribution import installed_version
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import SpecError


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """A spec, where it was read (for errors), where its relative paths start, where built engines live.

    `fit` is what the engine must fit (`--gpu`). `verify` is how to verify its shards (`--verify`), if so;
    `compare` is whether to compare a CPU engine with transformers (`--verify`, `--no-verify`); None: neither is said.
    """

    spec: EngineSpec
    origin: str
    base: Path
    built: Path
    fit: Fit = field(default_factory=Fit)
    verify: Verify | None = None
    compare: bool | None = None


@dataclass(frozen=True, slots=True)
class PreparedBuild:
    """A build with its checkpoints found and every rule checked that needs no weights.

    `materials.spec` has what the request's spec leaves open filled in.
    """

    request: BuildRequest
    builder: Builder
    materials: Materials
    preview: Preview | None
    ranks: RankSizes | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A prepared build with all its inputs hashed. `spec` names checkpoints for people, by no path of this machine."""

    prepared: PreparedBuild
    spec: EngineSpec
    source: tuple[SourceFile, ...]
    inputs: Inputs

    def reasons_to_build(self, directory: EngineDirectory | None, built: Manifest | None) -> list[str]:
        """Why what is in `directory` is not up to date; empty if it is."""
        if directory is None:
            return ["not built yet"]
        if built is None:
            return ["built by another version"]
        return built.inputs.changes_to(self.inputs) + [f"{name} is damaged" for name in built.damage(directory)]

    def can_reuse_model(self, directory: EngineDirectory, built: Manifest) -> bool:
        """Whether the model in `directory` is the one that this build would export."""
        damaged = any(name.startswith(("model/", "draft/")) for name in built.damage(directory))
        unverified = self.prepared.request.compare and not directory.model.verified.is_file()
        return built.inputs.makes_the_model_of(self.inputs) and not damaged and not unverified


@contextmanager
def prepare_build(request: BuildRequest, *, preview: bool = False) -> Iterator[PreparedBuild]:
    """Find the checkpoints and check the spec against them. Copies in the cache are kept until the end of the block.

    A preview needs no weights: only the small files of a checkpoint are fetched.

    Raises:
        SpecError: the spec asks for what the checkpoint cannot give.
        BuildError: a checkpoint cannot be found or used.
    """
    spec, base, origin = request.spec, request.base, request.origin
    builder = BUILDERS[spec.runtime]
    _check_flags(request, builder, preview)
    formats = () if preview else builder.formats
    with ExitStack() as stack:
        checkpoint = stack.enter_context(resolve(spec.model, base, formats))
        spec = _with_runtime(spec, checkpoint, origin)
        builder = BUILDERS[spec.runtime]
        spec = builder.complete(spec, checkpoint)
        facts = checkpoint.facts(writes_text=spec.runtime != "embed")
        spec = _within(builder.length_limit(checkpoint, spec.build.flow), spec, facts, origin)
        length = _sequence_length(spec, facts, origin)
        draft = None
        if spec.speculative is not None and spec.speculative.draft_model is not None:
            found = stack.enter_context(resolve(spec.speculative.draft_model, base, formats))
            draft = check_draft(found, facts, length, origin)
        adapters = find_adapters(spec, base, origin)
        directory = EngineDirectory(request.built / spec.engine)
        materials = Materials(spec, origin, directory, checkpoint, facts, length, draft, adapters)
        outline = builder.prepare(materials, request.fit, preview=preview)
        materials = replace(materials, spec=outline.spec)
        _check_cache(materials, outline.ranks)
        yield PreparedBuild(request, builder, materials, outline.preview, outline.ranks)


def make_plan(prepared: PreparedBuild, built: Manifest | None) -> Plan:
    """Hash the inputs of the build, but for files that `built` has hashed already."""
    builder, materials = prepared.builder, prepared.materials
    known = built.source_files if built else ()
    source = source_files(materials.checkpoint.directory, _source_names(builder, materials.checkpoint), known)
    if materials.draft is not None:
        draft = materials.draft.checkpoint
        source += source_files(draft.directory, _source_names(builder, draft), known, prefix="draft/")
    for adapter in materials.adapters:
        source += source_files(adapter.directory, FILES, known, prefix=f"adapters/{adapter.name}/")
    spec = materials.spec
    # A machine that only serves lacks the packages that export: there the versions that built the engine count.
    versions = built.inputs.versions if built and built.inputs.runtime == spec.runtime else {}
    inputs = Inputs(
        format=FORMAT,
        runtime=spec.runtime,
        settings=builder.settings(spec),
        checkpoint={file.name: file.sha256 for file in source},
        versions={**versions, **installed_versions(builder)},
    )
    return Plan(prepared, _with_display_names(spec, materials.checkpoint, materials.draft), source, inputs)


def installed_versions(builder: Builder) -> dict[str, str]:
    """Versions of the packages that the builder needs, as far as they are installed."""
    found = {name: installed_version(name) for name in builder.packages}
    return {name: version for name, version in found.items() if version is not None}


def _check_flags(request: BuildRequest, builder: Builder, preview: bool) -> None:
    if preview and request.verify is not None:
        raise SpecError("--verify: not with --plan, which writes no shards")
    if request.verify is not None and not builder.writes_shards(request.spec.build):
        rule = "must be none with --verify: TensorRT-LLM's own quantizer writes the shards of others"
        raise spec_error(request.origin, "build.quantization", request.spec.build.quantization, rule)


def _with_runtime(spec: EngineSpec, checkpoint: Checkpoint, origin: str) -> EngineSpec:
    """The spec with the runtime that its checkpoint is for, where it names none."""
    if "runtime" in spec.model_fields_set or not is_encoder(checkpoint.directory, checkpoint.config()):
        return spec
    return for_runtime(spec, "embed", origin)


def _within(limit: LengthLimit | None, spec: EngineSpec, facts: CheckpointFacts, origin: str) -> EngineSpec:
    """The spec with the runtime's `limit` as its `max_seq_len`, where it has none and the checkpoint allows more."""
    asked, own = spec.build.max_seq_len, facts.max_position_embeddings
    if limit is None or (asked or own or 0) <= limit.tokens:
        return spec
    if asked is not None:
        raise spec_error(origin, "build.max_seq_len", asked, f"must be ≤ {limit.tokens}: {limit.reason}")
    rule = f"the longest that is computed right, not the checkpoint's {own}"
    progress.say(f"{spec.engine}: max_seq_len {limit.tokens}: {rule}: {limit.reason}")
    return spec.model_copy(update={"build": spec.build.model_copy(update={"max_seq_len": limit.tokens})})


def _sequence_length(spec: EngineSpec, facts: CheckpointFacts, origin: str) -> int:
    """Tokens of prompt and answer together, after every rule that ties the spec to its checkpoint."""
    limit, asked = facts.max_position_embeddings, spec.build.max_seq_len
    length = asked or limit
    if length is None:
        raise SpecError(f"{origin}: build.max_seq_len is required: the checkpoint has no {' or '.join(CONTEXT_KEYS)}")
    if limit is not None and length > limit:
        rule = f"must be ≤ {limit}, the checkpoint's max_position_embeddings"
        raise spec_error(origin, "build.max_seq_len", asked, rule)
    cache = spec.serve.max_tokens_in_paged_kv_cache
    if cache is not None and cache < least_cache_tokens(spec, length):
        rule = f"must be ≥ {_least_cache(spec, length)}, or the longest request never fits"
        raise spec_error(origin, "serve.max_tokens_in_paged_kv_cache", cache, rule)
    if not spec.serve.enable_chunked_context and spec.build.max_num_tokens < length:
        rule = f"must be ≥ build.max_seq_len ({length}) where serve.enable_chunked_context = false"
        raise spec_error(origin, "build.max_num_tokens", spec.build.max_num_tokens, rule)
    return length


def _check_cache(materials: Materials, ranks: RankSizes | None) -> None:
    """That `serve.kv_cache_bytes` holds the longest request."""
    spec, given = materials.spec, materials.spec.serve.kv_cache_bytes
    if given is None:
        return
    draft = materials.draft.facts if materials.draft else None
    tokens = tokens_in_cache(spec, materials.facts, draft, ranks, given)
    if tokens is None:
        rule = "cannot be counted for this model: say serve.max_tokens_in_paged_kv_cache instead"
        raise spec_error(materials.origin, "serve.kv_cache_bytes", given, rule)
    if tokens < least_cache_tokens(spec, materials.max_seq_len):
        rule = f"holds {tokens} tokens: must hold {_least_cache(spec, materials.max_seq_len)}"
        raise spec_error(materials.origin, "serve.kv_cache_bytes", given, rule)


def _least_cache(spec: EngineSpec, length: int) -> str:
    each = " for the model and each adapter" if num_pipelines(spec) > 1 else ""
    return f"build.max_seq_len{each} ({least_cache_tokens(spec, length)})"


def _source_names(builder: Builder, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Files of the checkpoint that the engine is made of."""
    return (*builder.weight_files(checkpoint), *checkpoint.text_files())


def _with_display_names(spec: EngineSpec, checkpoint: Checkpoint, draft: Draft | None) -> EngineSpec:
    named = spec.model_copy(update={"model": checkpoint.source})
    if draft is None or spec.speculative is None:
        return named
    section = spec.speculative.model_copy(update={"draft_model": draft.checkpoint.source})
    return named.model_copy(update={"speculative": section})
