"""`conch build`: from a spec, or from flags, to a built engine. Nothing is rebuilt when nothing has changed.

1. spec.py        reads and checks `engines/NAME.toml` and the flags
2. checkpoint.py  finds the checkpoint and reads its configuration
3. plan.py        hashes it and compares all of that with the manifest of what was built before
4. tokenizer.py   writes the tokenizer and proves it and its chat template
5. exporters.py   writes the model, by runtime
6. render.py      writes what Triton reads
7. store.py       puts the new engine in place of the old one, whole or not at all
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Final

import typer

from build_scripts import progress
from build_scripts.exporters import EXPORTERS
from build_scripts.manifest import FILE_NAME, Manifest, file_sizes
from build_scripts.plan import BuildRequest, Plan, make_plan
from build_scripts.render import REPOSITORY, render
from build_scripts.spec import EngineSpec, read_spec
from build_scripts.store import EngineStore, write_file
from build_scripts.tokenizer import write_tokenizer
from triton_repo.errors import BuildError, ConchError, SpecError

ENGINES: Final = Path(__file__).resolve().parents[1] / "engines"


@dataclass(frozen=True, slots=True)
class Engine:
    """A built engine. `repository` is the Triton model repository in `directory`."""

    name: str
    spec: EngineSpec
    directory: Path

    @property
    def repository(self) -> Path:
        return self.directory / REPOSITORY


def ensure_engine(spec_or_name: str) -> Engine:
    """The engine of a spec file, of a name in `engines/`, or of a built directory; built if it is not up to date.

    A built directory (or a name that has no spec) is taken as it is and only rendered anew.

    Raises:
        SpecError: there is no such spec, or it is not allowed.
        BuildError: a step failed; an engine that was there before is intact.
    """
    file = _spec_file(spec_or_name)
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
    reasons = plan.reasons_to_build(directory, old)
    if directory is None or old is None or reasons:
        progress.say(f"{store.name}: building ({', '.join(reasons[:5])})")
        started = time.monotonic()
        _build_anew(store, plan)
        progress.say(f"{store.name}: built in {time.monotonic() - started:.1f} s: {_shown(store.link)}")
        return
    manifest = old.model_copy(update={"spec": plan.spec, "source_files": plan.source})
    render(directory, manifest)
    write_file(directory / FILE_NAME, manifest.to_json())
    progress.say(f"{store.name}: up to date: {_shown(store.link)}")


def _current(store: EngineStore) -> tuple[Path | None, Manifest | None]:
    directory = store.current()
    if directory is None:
        return None, None
    try:
        return directory, Manifest.load(directory)
    except BuildError:  # of another version: to be replaced
        return directory, None


def _build_anew(store: EngineStore, plan: Plan) -> None:
    exporter = EXPORTERS[plan.spec.runtime]
    exporter.require_packages()
    store.log.write_bytes(b"")
    with store.partial() as partial:
        with progress.step("tokenizer"):
            write_tokenizer(plan.checkpoint, partial / "tokenizer", store.log)
        if exporter.export is not None:
            settings = ", ".join(f"{key} {value}" for key, value in plan.inputs.settings.items())
            with progress.step(f"export ({settings})"):
                (partial / "model").mkdir()
                exporter.export(plan.checkpoint, plan.spec.build, partial / "model", store.log)
        with progress.step("publish"):
            manifest = _manifest(plan, partial)
            render(partial, manifest)
            write_file(partial / FILE_NAME, manifest.to_json())
            store.publish(partial, manifest.inputs.fingerprint)


def _manifest(plan: Plan, partial: Path) -> Manifest:
    return Manifest(
        inputs=plan.inputs,
        created=int(time.time()),
        conch=metadata.version("conch"),
        spec=plan.spec,
        facts=plan.facts,
        chat=(partial / "tokenizer" / "chat_template.jinja").exists(),
        source_files=plan.source,
        files=file_sizes(partial),
    )


def _shown(path: Path) -> Path:
    """The path as a person in the working directory would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _spec_file(spec_or_name: str) -> Path | None:
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


def _request(spec: str | None, overrides: Mapping[str, object], output_dir: Path | None) -> BuildRequest:
    """What the command line asks for. Flags alone build into `engines/built`, a relative --model starts here."""
    given = {key: value for key, value in overrides.items() if value is not None}
    if isinstance(given.get("model"), str) and Path(str(given["model"])).is_dir():
        given["model"] = str(Path(str(given["model"])).resolve())
    if spec is None:
        if "model" not in given:
            raise SpecError("name a spec (engines/demo.toml) or give --model and --name")
        return BuildRequest(read_spec(None, given), "flags", Path.cwd(), output_dir or ENGINES / "built")
    file = _spec_file(spec)
    if file is None:
        raise SpecError(f"{spec}: not a spec file, and engines/ has no {spec}.toml")
    return BuildRequest(read_spec(file, given), str(file), file.parent, output_dir or file.parent / "built")


def build_command(  # noqa: PLR0913, PLR0917 - the options of a command
    spec: Annotated[str | None, typer.Argument(help="A spec file, or the name of one in engines/.")] = None,
    model: Annotated[str | None, typer.Option(help="Checkpoint: a directory or a hub id org/name.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the engine.")] = None,
    runtime: Annotated[str | None, typer.Option(help="openvino or replay.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")] = None,
    quantization: Annotated[str | None, typer.Option(help="Of the weights: none, int8 or int4.")] = None,
    max_seq_len: Annotated[int | None, typer.Option(help="Tokens of prompt and answer together.")] = None,
    max_batch_size: Annotated[int | None, typer.Option(help="Sequences that run at once.")] = None,
    max_num_tokens: Annotated[int | None, typer.Option(help="Tokens in one engine iteration.")] = None,
    tp: Annotated[int | None, typer.Option(help="Tensor-parallel ranks.")] = None,
    pp: Annotated[int | None, typer.Option(help="Pipeline-parallel ranks.")] = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="Where built engines live (default: built/ beside the spec).")
    ] = None,
) -> None:
    """Build an engine from a checkpoint; flags override the spec."""
    overrides = {
        "model": model,
        "name": name,
        "runtime": runtime,
        "build.dtype": dtype,
        "build.quantization": quantization,
        "build.max_seq_len": max_seq_len,
        "build.max_batch_size": max_batch_size,
        "build.max_num_tokens": max_num_tokens,
        "build.tensor_parallel": tp,
        "build.pipeline_parallel": pp,
    }
    try:
        build(_request(spec, overrides, output_dir))
    except ConchError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, SpecError) else 1) from None


if __name__ == "__main__":
    typer.run(build_command)
