"""From a spec to a built engine. Nothing is rebuilt when nothing has changed.

1. spec.py        reads and checks `engines/NAME.toml` and the flags
2. checkpoint.py  finds the checkpoint and reads its configuration
3. plan.py        refuses what cannot be built, hashes the rest, compares it with the manifest of what was built before
4. tokenizer.py   writes the tokenizer and proves it and its chat template
5. exporters.py   writes the model, by runtime; draft.py what goes with a draft model
6. render.py      writes what Triton reads
7. store.py       puts the new engine in place of the old one, whole or not at all
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from build_scripts.engine.manifest import FILE_NAME, Manifest, file_sizes
from build_scripts.engine.render import REPOSITORY, render
from build_scripts.engine.store import EngineStore
from build_scripts.exporters import EXPORTERS
from build_scripts.plan import BuildRequest, Plan, make_plan
from build_scripts.source.draft import check_vocabulary
from build_scripts.source.tokenizer import write_tokenizer
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.spec.reading import read_spec
from build_scripts.tensorrt_llm.compile import compiled_by
from build_scripts.tensorrt_llm.export import link
from build_scripts.work import progress
from build_scripts.work.disk import write_file
from triton_repo.contract.distribution import conch_version
from triton_repo.contract.engine_config import ADAPTERS, DRAFT
from triton_repo.contract.errors import BuildError, SpecError
from triton_repo.engine.runtimes.tensorrt_llm.arguments import CHECKPOINT

MODEL: Final = "model"
ENGINES: Final = Path(__file__).resolve().parents[1] / "engines"


@dataclass(frozen=True, slots=True)
class Engine:
    """A built engine."""

    name: str
    spec: EngineSpec
    directory: Path

    @contextmanager
    def hold(self) -> Iterator[Path]:
        """Its Triton model repository as it is now: a build in the meantime puts another beside it."""
        with EngineStore(self.directory.parent, self.directory.name).hold() as directory:
            yield directory / REPOSITORY


def ensure_engine(spec_or_name: str) -> Engine:
    """The engine of a spec file, of a name in `engines/`, or of a built directory; built if it is not up to date.

    A built directory (or a name that has no spec) is taken as it is and only rendered anew.

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
    store = EngineStore(request.built, request.spec.name)
    try:
        with store.lock(lambda pid: progress.say(f"{store.name}: waiting for the build of process {pid}")):
            store.sweep()
            _bring_up_to_date(store, request)
            store.sweep()
    except OSError as error:
        raise BuildError(f"{store.link}: {error}") from error
    return Engine(store.name, request.spec, store.link.absolute())


def _bring_up_to_date(store: EngineStore, request: BuildRequest) -> None:
    directory, old = _current(store)
    plan = make_plan(request, old)
    reasons, shards = plan.reasons_to_build(directory, old), None
    if directory is not None and not reasons:
        reasons, shards = _reasons_to_finish(plan, directory / MODEL)
    if directory is None or old is None or reasons:
        progress.say(f"{store.name}: building ({', '.join(reasons[:5])})")
        started = time.monotonic()
        _build_anew(store, plan, shards)
        progress.say(f"{store.name}: built in {time.monotonic() - started:.1f} s: {_shown(store.link)}")
        _say_what_remains(store, plan)
        return
    if plan.verify is not None:
        plan.verify(plan.checkpoint, directory / MODEL / CHECKPOINT, store.log)
    compiled = compiled_by(directory / MODEL)  # which may have happened elsewhere, after the build
    manifest = old.model_copy(update={"spec": plan.spec, "source_files": plan.source, "compiled": compiled})
    render(directory, manifest)
    write_file(directory / FILE_NAME, manifest.to_json())
    progress.say(f"{store.name}: up to date: {_shown(store.link)}")
    _say_what_remains(store, plan)


def _reasons_to_finish(plan: Plan, model: Path) -> tuple[list[str], Path | None]:
    """Why this machine should do what another one could not, and the shards in `model` that will do as they are."""
    exporter = EXPORTERS[plan.spec.runtime]
    reason = exporter.reason_to_finish(model, plan.checkpoint.directory.absolute(), plan.spec)
    if reason is None:
        return [], None
    has_shards = exporter.has_shards(plan.spec.build) and (model / CHECKPOINT).is_dir()
    return [reason], model / CHECKPOINT if has_shards else None


def _say_what_remains(store: EngineStore, plan: Plan) -> None:
    """The steps that this machine cannot do, as commands for one that can."""
    model, source = store.link.absolute() / MODEL, plan.checkpoint.directory.absolute()
    for step in EXPORTERS[plan.spec.runtime].remaining(model, source, plan.spec):
        progress.say(f"{store.name}: not done here: {step.title}; on a {step.where}:\n  {shlex.join(step.argv)}")


def _current(store: EngineStore) -> tuple[Path | None, Manifest | None]:
    directory = store.current()
    if directory is None:
        return None, None
    try:
        return directory, Manifest.load(directory)
    except BuildError:  # of another version: to be replaced
        return directory, None


def _build_anew(store: EngineStore, plan: Plan, shards: Path | None) -> None:
    """`shards` is a directory with those that this build would write, if there is one."""
    exporter = EXPORTERS[plan.spec.runtime]
    exporter.require_packages()
    store.log.write_bytes(b"")
    with store.partial() as partial:
        with progress.step("tokenizer"):
            write_tokenizer(plan.checkpoint, partial / "tokenizer", store.log)
        if plan.draft is not None:
            check_vocabulary(plan.draft, partial / "tokenizer", partial / "scratch", store.log)
        if exporter.export is not None:
            (partial / MODEL).mkdir()
            if shards is not None:
                link(shards, sorted(path.name for path in shards.iterdir()), partial / MODEL / CHECKPOINT)
            exporter.export(plan.checkpoint, plan.spec, partial / MODEL, store.log, plan.verify)
        if plan.draft is not None and exporter.export is not None:
            (partial / DRAFT).mkdir()
            exporter.export(plan.draft.checkpoint, plan.spec, partial / DRAFT, store.log, plan.verify)
            exporter.pair(partial / "tokenizer", [partial / MODEL, partial / DRAFT], store.log)
        for adapter in plan.adapters:
            adapter.copy_to(partial / ADAPTERS)
        with progress.step("publish"):
            manifest = _manifest(plan, partial)
            render(partial, manifest)
            write_file(partial / FILE_NAME, manifest.to_json())
            store.publish(partial, manifest.inputs.fingerprint)


def _manifest(plan: Plan, partial: Path) -> Manifest:
    return Manifest(
        inputs=plan.inputs,
        created=int(time.time()),
        conch=conch_version(),
        spec=plan.spec,
        facts=plan.facts,
        draft_facts=plan.draft.facts if plan.draft else None,
        chat=(partial / "tokenizer" / "chat_template.jinja").exists(),
        source_files=plan.source,
        compiled=compiled_by(partial / MODEL),
        files=file_sizes(partial),
    )


def _shown(path: Path) -> Path:
    """The path as a person in the working directory would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def spec_file(spec_or_name: str) -> Path | None:
    if spec_or_name.endswith(".toml"):
        return Path(spec_or_name)
    named = ENGINES / f"{spec_or_name}.toml"
    return named if named.is_file() and "/" not in spec_or_name else None


def _built_directory(path_or_name: str) -> Path:
    for directory in (Path(path_or_name), ENGINES / "built" / path_or_name):
        if (directory / FILE_NAME).is_file():
            return directory
    specs = ", ".join(sorted(file.stem for file in ENGINES.glob("*.toml")))
    raise SpecError(f"{path_or_name}: neither a spec file, nor a built engine, nor one of engines/: {specs}")


def _open_built(directory: Path) -> Engine:
    manifest = Manifest.load(directory)
    damaged = manifest.damage(directory)
    if damaged:
        raise BuildError(f"{directory}: {', '.join(damaged)}: damaged; build it again")
    try:
        render(directory, manifest)
    except OSError as error:
        raise BuildError(f"{directory}: {error}") from error
    return Engine(manifest.spec.name, manifest.spec, directory.absolute())
