"""`manifest.json` of a built engine: what was built, from what, by which versions, and so whether it is up to date."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final, TypeGuard, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from build_scripts.sizing.ranks import RankSizes
from build_scripts.source.checkpoint import CheckpointFacts
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.vocabulary.files import TOKENIZER_FILES
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import BuildError
from triton_repo.preprocess.template_facts import TemplateFacts

FORMAT: Final = 1  # of the directory; a higher one rebuilds every engine


class _Value(BaseModel):
    """Fields that a newer version of Conch has added are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SourceFile(_Value):
    """One file of the checkpoint. Its hash is computed again only when its size, time or inode changes."""

    name: str
    size: int
    mtime_ns: int
    inode: int
    sha256: str


class Inputs(_Value):
    """Everything that determines what a build writes; equal inputs, equal engine."""

    format: int
    runtime: str
    settings: Mapping[str, str]  # of the spec, as far as the builder reads it: `Builder.settings`
    checkpoint: Mapping[str, str]  # file name -> sha256
    versions: Mapping[str, str]  # of the packages that export

    @property
    def fingerprint(self) -> str:
        """Hexadecimal, 64 characters."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def makes_the_model_of(self, new: Inputs) -> bool:
        """Whether `new` differs in files alone that the model is not made of: of a tokenizer, or adapters beside it."""
        return self._of_the_model() == new._of_the_model()

    def _of_the_model(self) -> Inputs:
        beside = ("adapters/",) if self.runtime == "openvino" else ()
        files = {
            name: sha256
            for name, sha256 in self.checkpoint.items()
            if not _is_of_a_tokenizer(name) and not name.startswith(beside)
        }
        return self.model_copy(update={"checkpoint": files})

    def changes_to(self, new: Inputs) -> list[str]:
        """What differs in `new`, for people."""
        changes = [f"format {self.format} → {new.format}"] if self.format != new.format else []
        changes += [f"runtime {self.runtime} → {new.runtime}"] if self.runtime != new.runtime else []
        changes += _changes(self.settings, new.settings, absent="default")
        changes += [f"{name} changed" for name in _differing(self.checkpoint, new.checkpoint)]
        return changes + _changes(self.versions, new.versions)


class Manifest(_Value):
    """`spec` is the one that the engine was last rendered with, `source_files` are those of the checkpoint."""

    inputs: Inputs
    created: int  # unix seconds of the build
    conch: str  # version that built it
    spec: EngineSpec
    facts: CheckpointFacts
    draft_facts: CheckpointFacts | None = None
    ranks: RankSizes | None = None  # of a split model, as far as they can be counted
    chat: bool  # there is a chat template
    template: TemplateFacts | None = None  # of that; None of manifests of earlier versions
    source_files: tuple[SourceFile, ...]
    compiled: Mapping[str, str | None] | None = None  # of a compiled engine: TensorRT-LLM, TensorRT, CUDA, GPU
    files: Mapping[str, int]  # relative path -> bytes, of what the build wrote

    @field_validator("spec", mode="before")
    @classmethod
    def _known_keys(cls, spec: object) -> object:
        """A person's spec may have no unknown key; that of a newer version may."""
        return _without_unknown_keys(spec, EngineSpec)

    @classmethod
    def load(cls, directory: EngineDirectory) -> Manifest:
        """Raises: BuildError: there is none, or it is of a version of Conch that this one cannot read."""
        file = directory.manifest_file
        try:
            manifest = cls.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise BuildError(f"{directory.path}: not an engine of this version: {file.name} is unreadable") from error
        if manifest.inputs.format > FORMAT:
            found = f"format {manifest.inputs.format} of {file.name}; this version reads up to {FORMAT}"
            raise BuildError(f"{directory.path}: built by a newer version of Conch: {found}")
        return manifest

    @property
    def max_seq_len(self) -> int:
        """Tokens of prompt and answer together. (Manifests of earlier versions leave it to the checkpoint.)"""
        return self.spec.build.max_seq_len or self.facts.max_position_embeddings or 0

    def to_json(self) -> bytes:
        return (self.model_dump_json(indent=2, exclude_none=True) + "\n").encode()

    def damage(self, directory: EngineDirectory) -> list[str]:
        """Names of files that are gone or have another size."""
        return [name for name, size in self.files.items() if _size(directory.path / name) != size]


def source_files(
    directory: Path, names: Iterable[str], known: Iterable[SourceFile] = (), prefix: str = ""
) -> tuple[SourceFile, ...]:
    """Hash the files, whose names get a `prefix`; those that look like a `known` one are not read again."""
    hashes = {(file.name, file.size, file.mtime_ns, file.inode): file.sha256 for file in known}
    result = []
    for name in sorted(names):
        path = directory / name
        stat = path.stat()
        identity = (prefix + name, stat.st_size, stat.st_mtime_ns, stat.st_ino)
        sha256 = hashes.get(identity) or _sha256(path)
        named, size, mtime_ns, inode = identity
        result.append(SourceFile(name=named, size=size, mtime_ns=mtime_ns, inode=inode, sha256=sha256))
    return tuple(result)


def file_sizes(directory: Path) -> dict[str, int]:
    """Relative path -> bytes of every file under `directory`."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.stat().st_size for path in sorted(files)}


def _is_of_a_tokenizer(name: str) -> bool:
    return PurePosixPath(name).name in TOKENIZER_FILES


def _without_unknown_keys(values: object, section: type[BaseModel]) -> object:
    if not isinstance(values, dict):
        return values
    known = {}
    for key, value in values.items():
        if (field := section.model_fields.get(key)) is not None:
            inner = next((part for part in (field.annotation, *get_args(field.annotation)) if _is_section(part)), None)
            known[key] = value if inner is None else _without_unknown_keys(value, inner)
    return known


def _is_section(part: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def _changes(old: Mapping[str, str], new: Mapping[str, str], absent: str = "none") -> list[str]:
    return [f"{name} {old.get(name, absent)} → {new.get(name, absent)}" for name in _differing(old, new)]
