"""`conch build --to hf`: a checkpoint of any kind as a HuggingFace directory, where a person asks for it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from build_scripts.architectures import UnknownArchitecture, check_weights, decoder_of, without_rope
from build_scripts.source.wheel import local
from build_scripts.weights.hf_writer import write_huggingface
from build_scripts.weights.opening import open_checkpoint
from build_scripts.weights.view import CheckpointView
from build_scripts.work import progress
from triton_repo.contract.errors import BuildError, SpecError


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
    path = Path(local(model))
    if not path.exists():
        raise BuildError(f"{model}: no such file or directory")
    write_view(open_checkpoint(path, model), output)
    progress.say(f"{output}: written")


def write_view(view: CheckpointView, output: Path) -> None:
    """Write a checkpoint into the new directory `output`, whole, and show how far it is.

    Raises:
        BuildError: its weights are not those that its configuration asks for, as far as its architecture is known here.
    """
    with suppress(UnknownArchitecture):
        check_weights(decoder_of(without_rope(view.config), view.source), view.weights, view.source)
    total = sum(tensor.nbytes for tensor in view.weights.values())
    with progress.transfer(f"{view.source} to HuggingFace", total) as wrote:
        write_huggingface(view, output, wrote)
