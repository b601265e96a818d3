"""A torch distributed checkpoint, as NeMo 2 and Megatron-Bridge write it, as Megatron's tensors: whole, layer by layer.

`.metadata` lists the chunks of each tensor and their places; each chunk is a `torch.save` archive of its own in a
`__R_K.distcp`. Each layer has a key of its own, or all are on the first axis of one tensor whose key has no number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from build_scripts.weights.file_span import Members
from build_scripts.weights.nemo.megatron import canonical
from build_scripts.weights.nemo.torch_dist_metadata import Chunk, Entry, read_metadata
from build_scripts.weights.patchwork import Patch, patchwork
from build_scripts.weights.pickled import read_pickled_tensor
from build_scripts.weights.rows import FileRows
from build_scripts.weights.view import ITEM_SIZES, LazyTensor
from triton_repo.contract.errors import BuildError

METADATA: Final = ".metadata"
_LAYERS: Final = "decoder.layers."
_MAX_LAYERS: Final = 4096


def read_torch_dist(members: Members, source: str) -> dict[str, LazyTensor]:
    """Canonical name -> tensor. Reads `.metadata` and where in the files the chunks lie.

    Raises:
        BuildError: a file is missing or broken, or the chunks are not those that `.metadata` describes.
    """
    if METADATA not in members:
        raise BuildError(f"{source}: {METADATA} is missing")
    entries = read_metadata(members[METADATA], lambda key: canonical(key) is not None)
    tensors: dict[str, LazyTensor] = {}
    for key, entry in entries.items():
        name = canonical(key) or key
        chunks = [(chunk, _open_chunk(members, source, key, entry, chunk)) for chunk in entry.chunks]
        for layer_name, tensor in _layers(name, entry, chunks):
            if layer_name in tensors:
                raise BuildError(f"{members[METADATA]}: {layer_name}: under two keys")
            tensors[layer_name] = tensor
    return tensors


def _open_chunk(members: Members, source: str, key: str, entry: Entry, chunk: Chunk) -> LazyTensor:
    span = members.get(chunk.file)
    if span is None:
        raise BuildError(f"{source}: {chunk.file} is missing; {METADATA} lists {key} in it")
    if chunk.start + chunk.length > span.size:
        raise BuildError(f"{span}: {key}: ends at byte {chunk.start + chunk.length} of {span.size}: truncated")
    tensor = read_pickled_tensor(span.part(chunk.start, chunk.length), key)
    if tensor.dtype != entry.dtype or math.prod(tensor.shape) != math.prod(chunk.sizes):
        held, listed = f"{tensor.dtype} {list(tensor.shape)}", f"{entry.dtype} {list(chunk.sizes)}"
        raise BuildError(f"{span}: {key}: {held}; {METADATA} lists {listed}")
    return tensor


def _layers(name: str, entry: Entry, chunks: list[tuple[Chunk, LazyTensor]]) -> Iterator[tuple[str, LazyTensor]]:
    rest = name.removeprefix(_LAYERS)
    if rest == name or rest.split(".")[0].isdigit():
        patches = [_patch(chunk.offsets, chunk.sizes, tensor, 0) for chunk, tensor in chunks]
        yield name, patchwork(name, entry.shape, patches)
        return
    layers = entry.shape[0] if entry.shape else 0
    if not 1 <= layers <= _MAX_LAYERS:
        raise BuildError(f"{METADATA}: {name}: {layers} layers; must be 1 to {_MAX_LAYERS}")
    by_layer: dict[int, list[Patch]] = {layer: [] for layer in range(layers)}
    for chunk, tensor in chunks:
        if chunk.offsets[0] + chunk.sizes[0] > layers:
            raise BuildError(f"{tensor.origin}: {name}: layer {chunk.offsets[0] + chunk.sizes[0] - 1} of {layers}")
        rows = math.prod(chunk.sizes[1:2])
        for index in range(chunk.sizes[0]):
            patch = _patch(chunk.offsets[1:], chunk.sizes[1:], tensor, index * rows)
            by_layer[chunk.offsets[0] + index].append(patch)
    for layer, patches in by_layer.items():
        whole = f"{_LAYERS}{layer}.{rest}"
        yield whole, patchwork(whole, entry.shape[1:], patches)


def _patch(offsets: tuple[int, ...], sizes: tuple[int, ...], tensor: LazyTensor, first_row: int) -> Patch:
    """The rows from `first_row` on of the chunk, seen as rows of `sizes` one below the other."""
    row_shape = sizes[1:]
    rows = math.prod(tensor.shape) // max(1, math.prod(row_shape))
    row, column = (*offsets, 0, 0)[:2]
    return Patch(_reshaped(tensor, (rows, *row_shape)), range(first_row, first_row + math.prod(sizes[:1])), row, column)


def _reshaped(tensor: LazyTensor, shape: tuple[int, ...]) -> LazyTensor:
    if tensor.shape == shape:
        return tensor
    rows = tensor.reader
    if not isinstance(rows, FileRows):
        raise BuildError(f"{tensor.origin}: {tensor.name}: saved transposed or with gaps")
    row_bytes = math.prod(shape[1:]) * ITEM_SIZES[tensor.dtype]
    reader = FileRows(rows.path, rows.offset, tensor.dtype, shape[1:], row_bytes)
    return LazyTensor(tensor.name, tensor.dtype, shape, tensor.origin, reader)
