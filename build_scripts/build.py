"""From a spec to a built engine. Nothing is rebuilt when nothing has changed.

1. spec/               reads and checks `engines/NAME.toml` and the flags
2. source/             finds the checkpoint, reads its configuration, writes and tests the tokenizer
3. plan.py             checks the spec against the checkpoint, hashes the inputs, compares them with the last build's
4. builders.py         has the builder of each runtime, which writes the model
5. engine/render.py    writes what Triton reads
6. engine/store.py     puts the new engine in place of the old one, whole or not at all
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from build_scripts.engine.answer_format import card_format
from build_scripts.engine.builder import Builder, Export
from build_scripts.engine.manifest import Manifest, file_sizes
from build_scripts.engine.render import render
from build_scripts.engine.store import EngineStore
from build_scripts.plan import BuildRequest, Plan, installed_versions, make_plan, prepare_build
from build_scripts.source.draft import check_vocabulary
from build_scripts.source.tokenizer import TokenizerFacts, write_tokenizer
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.spec.reading import ENGINES, named_specs, read_spec, spec_file
from build_scripts.work import progress
from build_scripts.work.disk import write_file
from triton_repo.contract.distribution import conch_version, install_command
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import BuildError, SpecError
from triton_repo.contract.model_card import GENERATE
from triton_repo.embed.settings import EncoderFacts
from triton_repo.preprocess.template_facts import TemplateFacts, template_facts


@dataclass(frozen=True, slots=True)
class Engine:
    """A built engine."""

    name: str
    spec: EngineSpec
    directory: Path

    @property
    def kind(self) -> str:
        """What it is for, as its model card says."""
        if self.spec.runtime != "embed":
            return GENERATE
        return EncoderFacts.load(EngineDirectory(self.directory).model.path).kind

    @contextmanager
    def hold(self) -> Iterator[Path]:
        """Its Triton model repository as it is now; a build in the meantime leaves it alone."""
        with EngineStore(self.directory.parent, self.directory.name).hold() as directory:
            yield EngineDirectory(directory).repository


def ensure_engine(spec_or_name: str) -> Engine:
    """The engine of a spec file, of a name in `engines/`, or of a built directory; built if it is not up to date.

    A built directory (or a name that has no spec) is taken as it is and only rendered again.

    Raises:
        SpecError: there is no such spec, or it is not allowed.
        BuildError: a step failed; an engine that was there before is intact.
    """
    file = spec_file(spec_or_name)
    if file is None:
        return _open_built(_built_directory(spec_or_name))
    return build(BuildRequest(read_spec(file), str(file), file.parent, file.parent / "built"))


def build(request: BuildRequest) -> Engine:
    """Bring one engine up to date."""
    store = EngineStore(request.built, request.spec.engine)
    try:
        with store.lock(lambda pid: progress.say(f"{store.name}: waiting for the build of process {pid}")):
            store.sweep()
            spec = _bring_up_to_date(store, request)
            store.sweep()
    except OSError as error:
        raise BuildError(f"{store.link}: {error}") from error
    return Engine(store.name, spec, store.link.absolute())


def _bring_up_to_date(store: EngineStore, request: BuildRequest) -> EngineSpec:
    """The spec that the engine has now, with nothing left open."""
    directory, old = _current(store)
    with prepare_build(request) as prepared:
        plan = make_plan(prepared, old)
        reasons, former = _reasons_to_build(plan, directory, old)
        if directory is None or old is None or reasons:
            progress.say(f"{store.name}: building ({', '.join(reasons[:5])})")
            started = time.monotonic()
            _rebuild(store, plan, former)
            progress.say(f"{store.name}: built in {time.monotonic() - started:.1f} s: {_shown(store.link)}")
        else:
            if request.verify is not None:
                request.verify(prepared.materials.checkpoint, directory.model.checkpoint, store.log)
            compiled = directory.model.read_compiled_by()  # which may have happened elsewhere, after the build
            update = {"spec": plan.spec, "ranks": prepared.ranks, "source_files": plan.source, "compiled": compiled}
            manifest = old.model_copy(update={**update, "template": old.template or _template(directory)})
            render(directory, manifest)
            write_file(directory.manifest_file, manifest.to_json())
            progress.say(f"{store.name}: up to date: {_shown(store.link)}")
        _say_what_it_reads(store)
        _say_what_remains(store, plan)
        return plan.spec


def _reasons_to_build(
    plan: Plan, directory: EngineDirectory | None, old: Manifest | None
) -> tuple[list[str], EngineDirectory | None]:
    """Why to build the engine again, and the one whose model can be reused, in whole or in part."""
    reasons = plan.reasons_to_build(directory, old)
    if directory is None or old is None:
        return reasons, None
    if reasons:
        return reasons, directory if plan.can_reuse_model(directory, old) else None
    source = plan.prepared.materials.checkpoint.directory.absolute()
    unfinished = plan.prepared.builder.reason_to_finish(directory.model, source, plan.spec)
    if unfinished is not None:  # by another machine
        reasons.append(unfinished)
    if plan.prepared.request.compare and not directory.model.verified.is_file():
        reasons.append("not verified yet")
    return reasons, directory if unfinished is not None else None


def _say_what_it_reads(store: EngineStore) -> None:
    """How the model writes what is not text: a person may want to correct it in the spec."""
    directory = EngineDirectory(store.link.absolute())
    if shown := card_format(Manifest.load(directory), directory).shown:
        progress.say(f"{store.name}: parsers of {shown}")


def _template(engine: EngineDirectory) -> TemplateFacts | None:
    return template_facts(engine.tokenizer) if engine.chat_template.exists() else None


def _say_what_remains(store: EngineStore, plan: Plan) -> None:
    """The steps that this machine cannot do, as commands for one that can."""
    model = EngineDirectory(store.link.absolute()).model
    source = plan.prepared.materials.checkpoint.directory.absolute()
    for step in plan.prepared.builder.remaining(model, source, plan.spec):
        progress.say(f"{store.name}: not done here: {step.title}; on a {step.where}:\n  {shlex.join(step.argv)}")


def _current(store: EngineStore) -> tuple[EngineDirectory | None, Manifest | None]:
    path = store.current()
    if path is None:
        return None, None
    try:
        return EngineDirectory(path), Manifest.load(EngineDirectory(path))
    except BuildError:  # of another version: to be replaced
        return EngineDirectory(path), None


def _rebuild(store: EngineStore, plan: Plan, former: EngineDirectory | None) -> None:
    builder, materials = plan.prepared.builder, plan.prepared.materials
    _require_packages(builder)
    store.log.write_bytes(b"")
    with store.partial() as partial:
        engine = EngineDirectory(partial)
        with progress.step("tokenizer"):
            tokenizer = write_tokenizer(materials.checkpoint, materials.facts.vocab_size, engine.tokenizer, store.log)
        if materials.draft is not None:
            check_vocabulary(materials.draft, engine.tokenizer, partial / "scratch", store.log)
        request, length = plan.prepared.request, materials.max_seq_len
        export = Export(
            materials.checkpoint,
            plan.spec,
            engine.model,
            length,
            store.log,
            request.verify,
            request.compare,
            former.model if former else None,
        )
        builder.export(export)
        if materials.draft is not None:
            draft = materials.draft.checkpoint
            reused = former.draft if former else None
            builder.export(replace(export, checkpoint=draft, model=engine.draft, former=reused))
            builder.finish_pair(engine, store.log)
        for adapter in materials.adapters:
            with _naming(f"build.lora.adapters.{adapter.name}"):
                builder.add_adapter(adapter, engine.model, engine.adapter(adapter.name))
        with progress.step("publish"):
            manifest = _manifest(plan, engine, tokenizer)
            render(engine, manifest)
            write_file(engine.manifest_file, manifest.to_json())
            store.publish(partial, manifest.inputs.fingerprint)


@contextmanager
def _naming(key: str) -> Iterator[None]:
    """An error of what a key of the spec names is told with it."""
    try:
        yield
    except BuildError as error:
        raise BuildError(f"{key}: {error}") from error


def _require_packages(builder: Builder) -> None:
    absent = sorted(set(builder.packages) - set(installed_versions(builder)))
    if absent:
        raise BuildError(f"building needs {', '.join(absent)}: {install_command('build', 'openvino')}")


def _manifest(plan: Plan, engine: EngineDirectory, tokenizer: TokenizerFacts) -> Manifest:
    materials = plan.prepared.materials
    facts = materials.facts
    end_ids = tuple(dict.fromkeys((*facts.eos_token_ids, *tokenizer.end_token_ids)))
    return Manifest(
        inputs=plan.inputs,
        created=int(time.time()),
        conch=conch_version(),
        spec=plan.spec,
        facts=facts.model_copy(update={"eos_token_ids": end_ids}),
        draft_facts=materials.draft.facts if materials.draft else None,
        ranks=plan.prepared.ranks,
        chat=engine.chat_template.exists(),
        template=_template(engine),
        source_files=plan.source,
        compiled=engine.model.read_compiled_by(),
        files=file_sizes(engine.path),
    )


def _shown(path: Path) -> Path:
    """Relative to the working directory where it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _built_directory(path_or_name: str) -> EngineDirectory:
    for path in (Path(path_or_name), ENGINES / "built" / path_or_name):
        if EngineDirectory(path).manifest_file.is_file():
            return EngineDirectory(path)
    raise SpecError(f"{path_or_name}: neither a spec file, nor a built engine, nor one of engines/: {named_specs()}")


def _open_built(directory: EngineDirectory) -> Engine:
    manifest = Manifest.load(directory)
    damaged = manifest.damage(directory)
    if damaged:
        raise BuildError(f"{directory.path}: {', '.join(damaged)}: damaged; build it again")
    try:
        render(directory, manifest)
    except OSError as error:
        raise BuildError(f"{directory.path}: {error}") from error
    return Engine(manifest.spec.engine, manifest.spec, directory.path.absolute())
