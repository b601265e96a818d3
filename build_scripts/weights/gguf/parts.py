"""The file or files of one GGUF checkpoint: NAME.gguf, or NAME-00001-of-00003.gguf and its siblings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from build_scripts.weights.gguf.header import MAGIC, Header, StoredTensor, read_header
from build_scripts.weights.huggingface import weight_files
from triton_repo.contract.errors import BuildError

SUFFIX: Final = ".gguf"
_PART: Final = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_CUT: Final = re.compile(r"(?P<name>.+\.gguf)(?P<part>\.part|-split-)\w+", re.ASCII)  # as `split` cuts a file
# Names of files beside a model: an encoder of images, a draft that predicts further tokens, what it was quantized by.
_NOT_A_MODEL: Final = re.compile(r".*mmproj.*|mtp-.*|(.*[-._])?imatrix\.gguf", re.IGNORECASE)


def is_gguf(path: Path) -> bool:
    """Whether there is a GGUF checkpoint at `path`: a file, or a directory that has one and no other weights."""
    if path.is_file():
        if path.suffix == SUFFIX:
            return True
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    return bool(_models(path)) and not weight_files(path)


def gguf_file(path: Path, source: str) -> Path:
    """The file at `path`, or the only model in that directory: the first part of a split one.

    Raises:
        BuildError: the directory has several.
    """
    if path.is_file():
        return path
    found = _models(path)
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5]) or "none"
        raise BuildError(f"{source}: {len(found)} GGUF models in {path}; name the file: {names}")
    return found[0]


def part_files(path: Path) -> tuple[Path, ...]:
    """All parts of the model of which `path` is one, in their order, as far as they are there."""
    if (part := _PART.fullmatch(path.name)) is None:
        return (path,)
    count = int(part["count"])
    siblings = ((file, _PART.fullmatch(file.name)) for file in path.parent.iterdir())
    same = [
        file for file, match in siblings if match and match["name"] == part["name"] and int(match["count"]) == count
    ]
    return tuple(sorted(same))


def read_parts(path: Path) -> Header:
    """The header of the model in `path` and its other parts, as one; the values are those of the first part.

    Raises:
        BuildError: a part is missing or broken, or two do not belong together.
    """
    if cut := _CUT.fullmatch(path.name):
        raise BuildError(f"{path}: a part of a file: cat {cut['name']}{cut['part']}* > {cut['name']} makes it whole")
    files = part_files(path)
    headers = [read_header(file) for file in files]
    part = _PART.fullmatch(path.name)
    expected = int(part["count"]) if part else 1
    count = headers[0].values.get("split.count", 1)
    if part is None and count not in (0, 1):
        number = f"{count:05}" if type(count) is int else "NNNNN"
        raise BuildError(f"{path}: split.count = {count!r:.40}; its name must end in -00001-of-{number}{SUFFIX}")
    numbers = [int(match["number"]) for file in files if (match := _PART.fullmatch(file.name))]
    if part is not None and numbers != list(range(1, expected + 1)):
        missing = sorted(set(range(1, expected + 1)) - set(numbers))[:3]
        raise BuildError(f"{path}: {len(numbers)} of {expected} parts are there; missing: {missing or 'none'}")
    tensors: dict[str, StoredTensor] = {}
    for header in headers:
        _check_part(header, expected)
        if twice := next(iter(tensors.keys() & header.tensors.keys()), None):
            raise BuildError(f"{header.path}: {twice!r:.100} is in another part too")
        tensors |= header.tensors
    _check_total(headers[0], len(tensors))
    return Header(headers[0].path, headers[0].values, tensors)


def _check_part(header: Header, expected: int) -> None:
    count: Any = header.values.get("split.count", expected)
    if expected > 1 and count != expected:
        raise BuildError(f"{header.path}: split.count = {count!r:.40}; must be {expected}, as its name has it")


def _check_total(first: Header, count: int) -> None:
    total = first.values.get("split.tensors.count", count)
    if total != count:
        raise BuildError(f"{first.path}: split.tensors.count = {total!r:.40}; the parts have {count}")


def _models(directory: Path) -> list[Path]:
    """The models in a directory, of split ones the first part that is there."""
    found: dict[str, Path] = {}
    for file in sorted(directory.glob(f"*{SUFFIX}")):
        if file.is_file() and not _NOT_A_MODEL.fullmatch(file.name):
            part = _PART.fullmatch(file.name)
            found.setdefault(part["name"] if part else file.name, file)
    return list(found.values())
