"""Writes a TensorRT-LLM checkpoint, a few megabytes at a time.

Each source is read once, in blocks of rows; each block goes, converted, to its place in every rank's file that wants
it, while the next one is read. So memory holds two blocks, whatever the model's size, and the disk is read in order.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from build_scripts.architectures import Decoder
from build_scripts.tensorrt_llm.sharding.layout import CONFIG_FILE, RankFile, rank_files
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.rules import Piece
from build_scripts.tensorrt_llm.sharding.trtllm_config import checkpoint_config
from build_scripts.weights.rows import BLOCK_BYTES, tensor_bytes
from build_scripts.weights.view import ITEM_SIZES, CheckpointView, LazyTensor
from build_scripts.work.disk import check_space
from triton_repo.contract.errors import BuildError

if TYPE_CHECKING:
    import torch


def write_shards(  # noqa: PLR0913, PLR0917 - what, how and where
    view: CheckpointView,
    decoder: Decoder,
    parallel: Parallelism,
    dtype: str,
    output: Path,
    wrote: Callable[[int], None] = lambda _: None,
    block_bytes: int = BLOCK_BYTES,
) -> None:
    """Write `config.json` and every rank's file into the directory `output`; `wrote` gets the bytes done so far.

    The weights of `view` are those that `decoder` asks for (`check_weights`). Of a source `block_bytes`, or one row if
    that is more, are in memory at a time.

    Raises:
        BuildError: a source cannot be read, a value is too large for `dtype`, or the disk is full.
    """
    files = rank_files(decoder, parallel, dtype)
    done = 0
    check_space(output, "the shards", sum(file.file_bytes for file in files))
    places: dict[str, list[_Place]] = defaultdict(list)
    with ExitStack() as stack:
        for file in files:
            descriptor = _create(output / file.name, file, stack)
            for source, place in _places(file, descriptor):
                places[source].append(place)
        missing = next((source for source in places if source not in view.weights), None)
        if missing is not None:
            raise BuildError(f"{view.source}: {missing} is missing")
        for block in _ahead(_blocks(view, places, block_bytes)):
            done += sum(_write_piece(block, place) for place in places[block.source])
            wrote(done)
    config = json.dumps(checkpoint_config(decoder, parallel, dtype), indent=2) + "\n"
    (output / CONFIG_FILE).write_text(config, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a piece of a source goes: its row r lies at `offset + (r - piece.rows.start) * row_bytes`.

    All places of a source want it in the same `dtype`, with the same number `added` to it.
    """

    descriptor: int
    offset: int
    row_bytes: int
    piece: Piece
    dtype: str
    added: float


def _create(path: Path, file: RankFile, stack: ExitStack) -> int:
    """The file in its full size: what is never written, the padding of the vocabulary, reads as zeros."""
    handle = stack.enter_context(path.open("xb", buffering=0))
    handle.write(file.header)
    handle.truncate(file.file_bytes)
    return handle.fileno()


def _places(file: RankFile, descriptor: int) -> Iterator[tuple[str, _Place]]:
    for tensor in file.tensors:
        dtype = file.dtype_of(tensor)
        row_bytes = ITEM_SIZES[dtype] * (tensor.shape[-1] if len(tensor.shape) > 1 else 1)
        for piece in tensor.pieces:
            offset = file.offsets[tensor.name] + piece.at * row_bytes
            yield piece.source, _Place(descriptor, offset, row_bytes, piece, dtype, tensor.offset)


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows start…stop of a source, converted."""

    source: str
    start: int
    stop: int
    rows: torch.Tensor


def _blocks(view: CheckpointView, places: Mapping[str, Sequence[_Place]], block_bytes: int) -> Iterator[_Block]:
    """Every row that some rank wants, in the order of the view."""
    for name, tensor in view.weights.items():
        step = max(1, block_bytes // tensor.row_bytes) if name in places else 1
        for start in range(0, tensor.shape[0], step) if name in places else ():
            stop = min(start + step, tensor.shape[0])
            if any(_overlap(place.piece.rows, start, stop) for place in places[name]):
                yield _Block(name, start, stop, _converted(tensor, tensor.read_rows(start, stop), places[name][0]))


def _ahead(blocks: Iterator[_Block]) -> Iterator[_Block]:
    """The same blocks; each is read while the one before it is written."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = reader.submit(next, blocks, None)
            yield block


def _converted(tensor: LazyTensor, block: torch.Tensor, place: _Place) -> torch.Tensor:
    if tensor.dtype == place.dtype and not place.added:
        return block
    import torch

    if place.added:
        block = block.float() + place.added  # rounded once, to the dtype of the place
    converted = block.to(getattr(torch, place.dtype))
    if not torch.isfinite(converted).all():
        raise BuildError(f"{tensor.origin}: {tensor.name}: has values that are not finite in {place.dtype}")
    return converted


def _write_piece(block: _Block, place: _Place) -> int:
    """Write those rows of the block that the piece wants. Returns: bytes written."""
    rows = _overlap(place.piece.rows, block.start, block.stop)
    if not rows:
        return 0
    part = block.rows[rows.start - block.start : rows.stop - block.start]
    if place.piece.columns is not None:
        part = part[:, place.piece.columns.start : place.piece.columns.stop].contiguous()
    data = memoryview(tensor_bytes(part))
    offset = place.offset + (rows.start - place.piece.rows.start) * place.row_bytes
    done = 0
    while done < len(data):
        done += os.pwrite(place.descriptor, data[done:], offset + done)
    # Begins to write it back now: the disk writes while the next block is read, and dirty pages do not pile up.
    os.posix_fadvise(place.descriptor, offset, done, os.POSIX_FADV_DONTNEED)
    return done


def _overlap(rows: range, start: int, stop: int) -> range:
    return range(max(rows.start, start), min(rows.stop, stop))
