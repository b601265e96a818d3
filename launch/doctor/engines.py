"""The engines that are built: whole or damaged, of which versions, what killed builds left, and the room for more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launch.doctor.finding import Finding, warning
from triton_repo.contract.distribution import install_command, installed_version
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import BuildError
from triton_repo.contract.steps import STEPS
from triton_repo.engine.runtimes.tensorrt_llm.engine import engine_error, installed

LITTLE_ROOM: Final = 5 * 2**30  # a checkpoint of some hundred million parameters, its copy and its engine
_PARTIAL: Final = ".store/.partial-*"
_ENCODERS: Final = "embed"  # their runtime; one model in Triton


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """`exported_by`: version of OpenVINO, where that made it. `host_bytes`: of what is loaded into the host's memory.
    `problem`: why it cannot run here; as the end of a sentence.
    """

    name: str
    runtime: str
    exported_by: str | None = None
    host_bytes: int = 0
    damage: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def steps(self) -> int:
        """Models in Triton that pass tensors through shared memory."""
        return 1 if self.runtime == _ENCODERS else len(STEPS)


def findings(built: Path, engines: Sequence[BuiltEngine], broken: Sequence[str]) -> Iterator[Finding]:
    """`broken`: why engines cannot be read, a sentence each."""
    if not engines and not broken:
        yield warning("engines", "none built", "conch serve builds the demo; conch build builds others")
    for reason in broken:
        yield warning("engines", "one cannot be read", f"{reason}; conch build makes it again")
    openvino = installed_version("openvino")
    for engine in engines:
        yield check_engine(engine, openvino)
    yield from check_leftovers(built)
    yield check_disk(built, shutil.disk_usage(_existing(built)).free)


def read_engines(built: Path) -> tuple[list[BuiltEngine], list[str]]:
    """Those below `built`, and why others cannot be read."""
    engines, broken = list[BuiltEngine](), list[str]()
    for link in sorted(built.glob("*")):
        try:
            if link.is_symlink() and not link.exists():
                broken.append(f"{link.name}: its directory is gone")
            elif EngineDirectory(link).manifest_file.is_file():
                engines.append(_read(link.name, EngineDirectory(link)))
        except (BuildError, OSError, ValueError) as failure:
            broken.append(str(failure))
    return engines, broken


def _read(name: str, directory: EngineDirectory) -> BuiltEngine:
    from build_scripts.engine.manifest import Manifest

    manifest = Manifest.load(directory)
    runtime, problem, host_bytes = manifest.inputs.runtime, None, 0
    if runtime == "tensorrt_llm":
        problem = engine_error(directory.model.path, EngineConfig.load(directory.path), installed())
    else:
        host_bytes = sum(size for file, size in manifest.files.items() if file.startswith(("model/", "draft/")))
    openvino = manifest.inputs.versions.get("openvino")
    return BuiltEngine(name, runtime, openvino, host_bytes, tuple(manifest.damage(directory)), problem)


def check_engine(engine: BuiltEngine, openvino: str | None) -> Finding:
    """`openvino`: its version here, None where it is not installed."""
    what, again = f"engine {engine.name}", f"conch build {engine.name} makes it again"
    if engine.damage:
        found = f"{len(engine.damage)} files are gone or of another size, such as {engine.damage[0]}"
        return warning(what, found, again)
    if engine.problem is not None:
        reason, _, remedy = engine.problem.partition(": ")
        return warning(what, f"{engine.runtime}, {reason}", remedy or again)
    if engine.exported_by is None:
        return Finding(what, engine.runtime)
    found = f"{engine.runtime}, by OpenVINO {engine.exported_by}"
    if openvino is None:
        return warning(what, found, f"OpenVINO is not installed here: {install_command('openvino')}")
    if engine.exported_by != openvino:
        return warning(what, f"{found}; here is {openvino}", again)
    return Finding(what, found)


def check_leftovers(built: Path) -> Iterator[Finding]:
    """Directories of builds that run, or that were killed: the next build of the same engine removes those."""
    for partial in sorted(built.glob(_PARTIAL)):
        if partial.is_dir() and not partial.is_symlink():
            name = partial.name.removeprefix(".partial-").rpartition("-")[0]
            size = _size_of_files(partial)
            found = f"a build of {name} runs or was killed: {size / 2**20:.0f} MiB in {partial.name}"
            yield warning("half-built", found, f"if none runs, conch build {name} removes it")


def _size_of_files(directory: Path) -> int:
    """Of those that are there: a build that goes on removes some meanwhile."""
    size = 0
    for folder, _, names in os.walk(directory):  # which passes over what it cannot list
        for name in names:
            with suppress(OSError):
                size += Path(folder, name).lstat().st_size
    return size


def check_disk(built: Path, free: int) -> Finding:
    found = f"{free / 2**30:.1f} GiB free"
    if free < LITTLE_ROOM:
        return warning("disk", found, f"make room on the disk of {built}, or build with --output-dir elsewhere")
    return Finding("disk", found)


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
