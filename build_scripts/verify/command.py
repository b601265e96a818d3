"""`python -m build_scripts.verify SHARDS SOURCE`: verifies an existing TensorRT-LLM checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from build_scripts.verify.report import show
from build_scripts.weights.opening import open_checkpoint
from build_scripts.work import progress
from triton_repo.contract.errors import ConchError


def verify_command(
    shards: Annotated[Path, typer.Argument(help="A TensorRT-LLM checkpoint: config.json and rank*.safetensors.")],
    source: Annotated[Path, typer.Argument(help="The checkpoint that it is made of.")],
    tolerance: Annotated[float, typer.Option(min=0, help="Largest difference, as a part of the largest logit.")] = 1e-4,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Run the shards of a TensorRT-LLM checkpoint, and their source in transformers, on the same prompts; compare.

    Exits with 1 where they differ, and names the first layer, tensor and rank that does.
    """
    from build_scripts.verify.compare import verify_shards  # torch and transformers

    try:
        view = open_checkpoint(source, source.name)
        total = sum(path.stat().st_size for path in shards.glob("rank*.safetensors"))
        with progress.transfer("verify", total) as done:
            result = verify_shards(shards, view, tolerance, done)
    except ConchError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    show(result, json)
    if not result.passed:
        raise typer.Exit(1)
