"""NeMo 1's files, one per rank, as Megatron's tensors: pipeline stages in a row, tensor-parallel parts together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from build_scripts.weights.file_span import FileSpan, Members
from build_scripts.weights.nemo.megatron import EMBEDDING, GATE_UP, OUTPUT, QKV, canonical, layer_of
from build_scripts.weights.patchwork import Patch, patchwork
from build_scripts.weights.pickled import read_pickled
from build_scripts.weights.view import LazyTensor
from triton_repo.contract.errors import BuildError

_FILE: Final = "model_weights.ckpt"
_RANK: Final = re.compile(
    r"(?:mp_rank_(?P<mp>\d{1,4})/|tp_rank_(?P<tp>\d{1,4})_pp_rank_(?P<pp>\d{1,4})/)?model_weights\.ckpt"
)
_ROWS: Final = re.compile(rf"{re.escape(EMBEDDING)}|{re.escape(OUTPUT)}|.*\.{re.escape(QKV)}\.(weight|bias)")
_HALVES: Final = re.compile(rf".*\.{re.escape(GATE_UP)}\.(weight|bias)")
_COLUMNS: Final = re.compile(r".*\.(self_attention\.linear_proj|mlp\.linear_fc2)\.weight")


def rank_files(members: Members) -> dict[tuple[int, int], FileSpan]:
    """(pipeline rank, tensor rank) -> file, of whatever is there."""
    files = {}
    for name, span in members.items():
        match = _RANK.fullmatch(name)
        if match:
            files[int(match["pp"] or 0), int(match["tp"] or match["mp"] or 0)] = span
    return files


def read_ranks(members: Members, config: Mapping[str, Any], source: str) -> dict[str, LazyTensor]:
    """Canonical name, with layers counted over the whole model -> tensor. Reads pickles, and no weights.

    Raises:
        BuildError: a rank's file is missing or broken, or the ranks do not fit together.
    """
    files = rank_files(members)
    pp_size, tp_size = _check_grid(files, config, source)
    tensors: dict[str, LazyTensor] = {}
    first_layer = 0
    for pp_rank in range(pp_size):
        stage = [_read(files[pp_rank, tp_rank]) for tp_rank in range(tp_size)]
        layers = {place[0] for name in stage[0] if (place := layer_of(name))}
        if layers != set(range(len(layers))):
            raise BuildError(f"{files[pp_rank, 0]}: its layers are not counted from 0 to {len(layers) - 1}")
        for name in stage[0]:
            whole = _shifted(name, first_layer)
            if whole in tensors and whole != OUTPUT:
                continue  # the last stage of a tied model has the embedding once more
            tensors[whole] = _merged(name, [_part(ranks, name, stage[0]) for ranks in stage])
        first_layer += len(layers)
    return tensors


def _check_grid(files: Mapping[tuple[int, int], FileSpan], config: Mapping[str, Any], source: str) -> tuple[int, int]:
    """Pipeline and tensor ranks, from the configuration or else from the names of the files."""
    pp_size = _size(config, "pipeline_model_parallel_size", 1 + max((pp for pp, _ in files), default=0))
    tp_size = _size(config, "tensor_model_parallel_size", 1 + max((tp for _, tp in files), default=0))
    for pp_rank in range(pp_size):
        for tp_rank in range(tp_size):
            if (pp_rank, tp_rank) not in files:
                where = f"tensor rank {tp_rank} of {tp_size}, pipeline rank {pp_rank} of {pp_size}"
                raise BuildError(f"{source}: no {_FILE} of {where}")
    if len(files) > pp_size * tp_size:
        raise BuildError(f"{source}: {len(files)} files {_FILE}; the configuration has {tp_size} × {pp_size} ranks")
    return pp_size, tp_size


def _size(config: Mapping[str, Any], key: str, named: int) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and 1 <= value <= 4096 else named


def _read(file: FileSpan) -> dict[str, LazyTensor]:
    tensors: dict[str, LazyTensor] = {}
    for key, tensor in read_pickled(file).items():
        name = canonical(key)
        if name in tensors:
            raise BuildError(f"{file}: {name}: under two names")
        if name is not None:
            tensors[name] = tensor
    return tensors


def _shifted(name: str, layers: int) -> str:
    place = layer_of(name)
    return f"decoder.layers.{place[0] + layers}.{place[1]}" if place else name


def _part(rank: Mapping[str, LazyTensor], name: str, first: Mapping[str, LazyTensor]) -> LazyTensor:
    """The tensor of one rank, which must be of the shape and dtype that the first rank's is."""
    origin = next(iter(rank.values())).origin if rank else first[name].origin
    if name not in rank or len(rank) != len(first):
        raise BuildError(f"{origin}: {name}: not in every tensor rank's file")
    tensor, expected = rank[name], first[name]
    if (tensor.shape, tensor.dtype) != (expected.shape, expected.dtype):
        held, other = f"{tensor.dtype} {list(tensor.shape)}", f"{expected.dtype} {list(expected.shape)}"
        raise BuildError(f"{origin}: {name}: {held}; {other} in {expected.origin}")
    return tensor


def _merged(name: str, parts: list[LazyTensor]) -> LazyTensor:
    """Rows one below the other, columns side by side; of gate over up, each on its own; the rest is in every rank."""
    shape, count = parts[0].shape, len(parts)
    dotted = f".{name}"
    if count == 1 or not shape:
        return parts[0]
    if _ROWS.fullmatch(name):
        patches = [Patch.all_of(part, row=index * shape[0]) for index, part in enumerate(parts)]
        return patchwork(name, (count * shape[0], *shape[1:]), patches)
    if _HALVES.fullmatch(dotted):
        half = shape[0] // 2
        gates = [Patch(part, range(half), index * half) for index, part in enumerate(parts)]
        ups = [Patch(part, range(half, 2 * half), (count + index) * half) for index, part in enumerate(parts)]
        return patchwork(name, (2 * count * half, *shape[1:]), gates + ups)
    if _COLUMNS.fullmatch(dotted) and len(shape) == 2:
        patches = [Patch.all_of(part, column=index * shape[1]) for index, part in enumerate(parts)]
        return patchwork(name, (shape[0], count * shape[1]), patches)
    return parts[0]
