"""A CheckpointView written out as HuggingFace lays a checkpoint out: whole or not at all, a few megabytes at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from build_scripts.weights.rows import BLOCK_BYTES, tensor_bytes
from build_scripts.weights.safetensors import header_bytes
from build_scripts.weights.view import CheckpointView, LazyTensor
from build_scripts.work.disk import check_space, new_directory

MAX_FILE_BYTES: Final = 5_000_000_000  # of weights in one file, as transformers has it
_SINGLE: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"


def write_huggingface(
    view: CheckpointView,
    output: Path,
    wrote: Callable[[int], None] = lambda _: None,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> None:
    """Write `view` into the new directory `output`; `wrote` gets the number of bytes of weights written so far.

    Raises:
        BuildError: `output` is there already, a weight cannot be read, or the disk is full. Nothing is left then.
    """
    with new_directory(output) as partial:
        check_space(partial.parent, "the weights", sum(tensor.nbytes for tensor in view.weights.values()))
        _write_all(view, partial, wrote, max_file_bytes)


def _write_all(view: CheckpointView, directory: Path, wrote: Callable[[int], None], max_file_bytes: int) -> None:
    files = _files(view.weights, max_file_bytes)
    done = 0
    for name, weights in files.items():
        for count in _write_weights(directory / name, weights):
            done += count
            wrote(done)
    if len(files) > 1:
        weight_map = {weight: name for name, weights in files.items() for weight in weights}
        total = sum(tensor.nbytes for tensor in view.weights.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (directory / _INDEX).write_bytes(_json(index))
    for name, content in view.text_files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)
    (directory / "config.json").write_bytes(_json(dict(view.config)))


def _files(weights: Mapping[str, LazyTensor], max_file_bytes: int) -> dict[str, dict[str, LazyTensor]]:
    """File name -> its weights, in the order of the view; a weight is never split. No weights, no file."""
    if not weights:
        return {}
    groups: list[dict[str, LazyTensor]] = [{}]
    size = 0
    for name, tensor in weights.items():
        if groups[-1] and size + tensor.nbytes > max_file_bytes:
            groups.append({})
            size = 0
        groups[-1][name] = tensor
        size += tensor.nbytes
    if len(groups) == 1:
        return {_SINGLE: groups[0]}
    return {f"model-{number:05}-of-{len(groups):05}.safetensors": group for number, group in enumerate(groups, 1)}


def _write_weights(path: Path, weights: Mapping[str, LazyTensor]) -> Iterator[int]:
    """Write one file. Yields: bytes of weights, as they are written."""
    header, _ = header_bytes({name: (tensor.dtype, tensor.shape) for name, tensor in weights.items()})
    with path.open("xb") as file:
        file.write(header)
        for tensor in weights.values():
            rows = tensor.shape[0] if tensor.shape else 1
            step = max(1, BLOCK_BYTES // max(1, tensor.row_bytes))
            for start in range(0, rows, step):
                block = tensor_bytes(tensor.read_rows(start, min(start + step, rows)))
                file.write(memoryview(block))
                yield len(block)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
