"""A HuggingFace directory as a CheckpointView: safetensors, or else `.bin`; one file, or shards with their index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from build_scripts.vocabulary.files import TOKENIZER_FILES
from build_scripts.weights.pickled import read_pickled
from build_scripts.weights.safetensors import read_header
from build_scripts.weights.strict_json import parse_object
from build_scripts.weights.view import CheckpointView, LazyTensor
from triton_repo.contract.errors import BuildError

Format = tuple[str, str, Callable[[Path], dict[str, LazyTensor]]]

# In order of preference: the single file, its index, and what reads one file.
FORMATS: Final[tuple[Format, ...]] = (
    ("model.safetensors", "model.safetensors.index.json", read_header),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", read_pickled),
)
SAFETENSORS: Final = FORMATS[:1]
TEXT_FILES: Final = ("generation_config.json", *TOKENIZER_FILES)


def open_huggingface(directory: Path, source: str) -> CheckpointView:
    """The checkpoint in `directory`. Reads the configuration and headers, and no weights.

    Raises:
        BuildError: there is none, a file is missing or broken, or the index contradicts the files.
    """
    config = read_config(directory, source)
    text_files = {name: (directory / name).read_bytes() for name in TEXT_FILES if (directory / name).is_file()}
    return CheckpointView(source, config, open_weights(directory, source), text_files)


def read_config(directory: Path, source: str) -> dict[str, Any]:
    """The values of config.json. Raises: BuildError: it is missing or no JSON object."""
    path = directory / "config.json"
    if not path.is_file():
        raise BuildError(f"{source}: no config.json in {directory}")
    return parse_object(path.read_bytes(), str(path), repeated_keys=True)


def weight_files(directory: Path, formats: Sequence[Format] = FORMATS) -> tuple[str, ...]:
    """Names of the files that hold the weights and of their index, in the first of `formats`; empty if there are none.

    Raises:
        BuildError: the index is broken, names a file outside the directory, or is beside a file of all weights.
    """
    for single, index, _ in formats:
        if (directory / index).is_file():
            return (*_indexed_alone(directory, single, index), index)
        if (directory / single).is_file():
            return (single,)
    return ()


def promised_files(directory: Path, format: Format) -> tuple[str, ...]:
    """Names of the files of weights in `format`, here or not: those that its index names, or else its single one.

    Raises:
        BuildError: the index is broken or names a file outside the directory.
    """
    single, index, _ = format
    return _indexed(directory / index) if (directory / index).is_file() else (single,)


def open_weights(directory: Path, source: str) -> Mapping[str, LazyTensor]:
    """Name -> tensor, by file and by place in the file."""
    for single, index, read in FORMATS:
        if (directory / index).is_file():
            _indexed_alone(directory, single, index)
            return _sharded(directory, directory / index, read)
        if (directory / single).is_file():
            return read(directory / single)
    raise BuildError(f"{source}: no weights in {directory}: neither {' nor '.join(names for names, _, _ in FORMATS)}")


def _sharded(directory: Path, index: Path, read: Callable[[Path], dict[str, LazyTensor]]) -> dict[str, LazyTensor]:
    weight_map = _weight_map(index)
    tensors: dict[str, LazyTensor] = {}
    for file in sorted(set(weight_map.values())):
        if not (directory / file).is_file():
            raise BuildError(f"{directory / file}: missing; {index.name} names it")
        held = read(directory / file)
        promised = {name for name, holder in weight_map.items() if holder == file}
        for name in sorted(promised ^ held.keys()):
            fault = "is not in it" if name in promised else f"is in it, and {index.name} does not say so"
            raise BuildError(f"{directory / file}: {name}: {fault}")
        tensors |= held
    return tensors


def _indexed_alone(directory: Path, single: str, index: str) -> tuple[str, ...]:
    """The files of the index, which is to be alone: of both, transformers takes the file, other servers the index."""
    names = _indexed(directory / index)
    if single not in names and (directory / single).is_file():
        rule = f"remove {index} and the files that it names, or {single}, of which it says nothing"
        raise BuildError(f"{directory}: two sets of weights: {rule}")
    return names


def _indexed(index: Path) -> tuple[str, ...]:
    return tuple(sorted(set(_weight_map(index).values())))


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = parse_object(index.read_bytes(), str(index)).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BuildError(f"{index}: weight_map must name the file of each weight")
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file or file in {"", ".", ".."}:
            raise BuildError(f"{index}: {name}: {file!r:.80} must be the name of a file in the same directory")
    return weight_map
