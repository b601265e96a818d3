"""A `.nemo` file is a tar. Its members are found by name and read where they lie; none is ever unpacked."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath
from typing import Any, Final

from build_scripts.weights.file_span import FileSpan
from triton_repo.contract.errors import BuildError

_GZIP: Final = b"\x1f\x8b"
_BLOCK: Final = 512  # bytes of a header, and of the zeros that end an archive
_MAX_MEMBERS: Final = 100_000
_MAX_FILES: Final = 100_000
_MAX_HEADER: Final = 1 << 20  # bytes of a long name or of an extended header


def archive_members(path: Path) -> dict[str, FileSpan]:
    """Name -> place of every regular file in the tar.

    Raises:
        BuildError: it is compressed, damaged or truncated; or a member is a link or a device, occurs twice, or has a
            name that leads out of the archive.
    """
    try:
        with path.open("rb", buffering=0) as file:
            if file.read(2) == _GZIP:
                raise BuildError(f"{path}: compressed; unpack it (mkdir DIR; tar -xzf FILE -C DIR) and build DIR")
            file.seek(0)
            return _members(path, _HeaderFile(file))
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise BuildError(f"{path}: not a readable tar: {str(error)[:200]}") from error
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror or error}") from error


def directory_members(directory: Path) -> dict[str, FileSpan]:
    """The same for an archive that was unpacked, and for formats that are directories.

    Raises:
        BuildError: there are too many files, or it cannot be read.
    """
    members: dict[str, FileSpan] = {}
    try:
        for path in directory.rglob("*"):
            if path.is_file():
                members[path.relative_to(directory).as_posix()] = FileSpan.whole(path)
            if len(members) > _MAX_FILES:
                raise BuildError(f"{directory}: more than {_MAX_FILES} files")
    except OSError as error:
        raise BuildError(f"{error.filename or directory}: {error.strerror}") from error
    return members


class _HeaderFile:
    """A file of which only headers are read; their size is bounded."""

    def __init__(self, file: Any) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes; must be ≤ {_MAX_HEADER}")
        return bytes(self._read(size))


def _members(path: Path, file: Any) -> dict[str, FileSpan]:
    size = path.stat().st_size
    names: set[str] = set()
    members: dict[str, FileSpan] = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            name = _checked_name(path, member)
            if name in names:
                raise BuildError(f"{path}: {name}: occurs twice")
            names.add(name)
            if len(names) > _MAX_MEMBERS:
                raise BuildError(f"{path}: more than {_MAX_MEMBERS} members")
            if member.offset_data + member.size > size:
                missing = member.offset_data + member.size - size
                raise BuildError(f"{path}: {name}: truncated: {missing} bytes are missing")
            if member.isreg():
                members[name] = FileSpan(path, member.offset_data, member.size, name)
        # An archive ends with zeros; Python's reader also stops, without a word, at a header that is damaged.
        file.seek(archive.offset)
        if file.read(_BLOCK) != bytes(_BLOCK):
            last = f" after {next(reversed(members))}" if members else ""
            raise BuildError(f"{path}: damaged or truncated{last}: no header and no end at byte {archive.offset}")
    return members


def _checked_name(path: Path, member: tarfile.TarInfo) -> str:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        raise BuildError(f"{path}: {member.name!r:.200}: leads out of the archive")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise BuildError(f"{path}: {name}: a link, a device or a sparse file; must be a plain file")
    if member.size < 0:
        raise BuildError(f"{path}: {name}: {member.size} bytes")
    return str(name)
