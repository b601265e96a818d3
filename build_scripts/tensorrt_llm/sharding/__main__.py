"""`python -m build_scripts.tensorrt_llm.sharding CHECKPOINT OUTPUT --tp 2`: convert a checkpoint without a spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from build_scripts.architectures import check_weights, decoder_of
from build_scripts.tensorrt_llm.sharding.layout import rank_files
from build_scripts.tensorrt_llm.sharding.limits import check_parallelism
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.write import write_shards
from build_scripts.weights.opening import open_checkpoint
from build_scripts.weights.view import WEIGHT_DTYPES
from build_scripts.work import progress
from build_scripts.work.disk import new_directory
from triton_repo.contract.errors import ConchError, SpecError


def shard(  # noqa: PLR0913, PLR0917 - the options of a command
    checkpoint: Annotated[Path, typer.Argument(help="HuggingFace or NeMo.")],
    output: Annotated[Path, typer.Argument(help="A directory that does not exist yet.")],
    tp: Annotated[int, typer.Option(min=1, help="Tensor-parallel ranks.")] = 1,
    pp: Annotated[int, typer.Option(min=1, help="Pipeline-parallel ranks.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "bfloat16",
    ep: Annotated[int, typer.Option(min=1, help="Of the tensor-parallel ranks, those that share out experts.")] = 1,
) -> None:
    """Write a TensorRT-LLM checkpoint."""
    try:
        if dtype not in WEIGHT_DTYPES:
            raise SpecError(f'--dtype = "{dtype}"; allowed: {", ".join(WEIGHT_DTYPES)}')
        view = open_checkpoint(checkpoint, checkpoint.name)
        decoder, parallel = decoder_of(view.config, view.source), Parallelism(tp, pp, moe_ep_size=ep)
        check_weights(decoder, view.weights, view.source)
        check_parallelism(decoder, parallel, "")
        total = sum(file.weight_bytes for file in rank_files(decoder, parallel, dtype))
        with new_directory(output) as partial, progress.transfer(f"shards (tp {tp}, pp {pp})", total) as wrote:
            write_shards(view, decoder, parallel, dtype, partial, wrote)
    except ConchError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(shard)
