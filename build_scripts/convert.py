"""NeMo and Megatron-Bridge checkpoints as HuggingFace directories: where a person asks for one, or for a build."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from build_scripts import progress
from build_scripts.architectures import check_weights, decoder_of
from build_scripts.weights.hf_writer import write_huggingface
from build_scripts.weights.nemo import open_nemo
from build_scripts.weights.opening import open_checkpoint
from build_scripts.weights.view import CheckpointView
from triton_repo.errors import BuildError, SpecError

_FORMAT: Final = 1  # of what is written; a higher one writes it anew


def convert(to: str, model: str | None, output: Path | None) -> None:
    """`conch build --to hf`: write the checkpoint `model` into the new directory `output`.

    Raises:
        SpecError: an option is missing or not allowed.
        BuildError: the checkpoint is broken or of no known kind, `output` is there already, or the disk is full.
    """
    if to != "hf":
        raise SpecError(f'--to = "{to}"; allowed: hf')
    if model is None or output is None:
        raise SpecError("--to hf: give --model, a checkpoint on this machine, and --output-dir, a new directory")
    if not Path(model).exists():
        raise BuildError(f"{model}: no such file or directory")
    _write(open_checkpoint(Path(model), model), output)
    progress.say(f"{output}: written")


def huggingface_directory(path: Path, source: str, weights: bool) -> Path:
    """The NeMo checkpoint at `path` as a HuggingFace directory in the user's cache; written once.

    Without `weights` only what is beside them is written.

    Raises:
        BuildError: as `convert`.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conch" / "nemo"
    directory = cache / f"{path.stem}-{_key(path)}"
    if directory.is_dir():
        return directory
    view = open_nemo(path, source)
    if weights:
        _write(view, directory)
        return directory
    small = directory.with_name(f"{directory.name}-small")
    if not small.is_dir():
        write_huggingface(replace(view, weights={}), small)
    return small


def _write(view: CheckpointView, output: Path) -> None:
    decoder = decoder_of(view.config, view.source)
    check_weights(decoder, view.weights, view.source)
    total = sum(tensor.nbytes for tensor in view.weights.values())
    with progress.transfer(f"{view.source} to HuggingFace", total) as wrote:
        write_huggingface(view, output, wrote)


def _key(path: Path) -> str:
    """Another one whenever a file of the checkpoint looks different."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest = hashlib.sha256(f"{_FORMAT} {path.resolve()}".encode())
    for file in files:
        stat = file.stat()
        digest.update(f"\0{file.relative_to(path)} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]
