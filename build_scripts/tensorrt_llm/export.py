"""HuggingFace weights -> shards for TensorRT-LLM, or for the PyTorch flow the files as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from build_scripts.architectures import check_weights, decoder_of
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.write import write_shards
from build_scripts.weights.opening import open_checkpoint
from build_scripts.work import progress
from build_scripts.work.disk import link_or_copy

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def link(directory: Path, names: Sequence[str], output: Path, written: Mapping[str, str] = _NONE) -> None:
    """Link the files `names` of `directory` into the new directory `output`; copy what cannot be hard-linked.

    Those of `written` have the text that it gives.
    """
    output.mkdir()
    write_texts(written, output)
    names = [name for name in names if name not in written]
    sizes = [(directory / name).stat().st_size for name in names]
    with progress.transfer("checkpoint", sum(sizes)) as show:
        done = 0
        for name, size in zip(names, sizes, strict=True):
            file = (directory / name).resolve()  # a file of the hub's cache is a link
            link_or_copy(file, output / name)
            done += size
            show(done)


def write_texts(files: Mapping[str, str], output: Path) -> None:
    for name, text in files.items():
        (output / name).write_text(text, encoding="utf-8")


def write_checkpoint(  # noqa: PLR0913, PLR0917 - JSON values, as they cross to a child
    checkpoint: str, source: str, output: str, split: Mapping[str, int], dtype: str, meter: str
) -> None:
    """Write the shards into the new directory `output`; the file `meter` has the number of bytes written so far.

    `split` are the values of a Parallelism.

    Meant for a child process.

    Raises:
        BuildError: the checkpoint is broken, or the disk is full.
    """
    view = open_checkpoint(Path(checkpoint), source)
    decoder = decoder_of(view.config, source)
    check_weights(decoder, view.weights, source)
    Path(output).mkdir()
    with Path(meter).open("wb", buffering=0) as file:

        def wrote(done: int) -> None:
            file.seek(0)
            file.write(b"%d" % done)

        write_shards(view, decoder, Parallelism(**split), dtype, Path(output), wrote)
