"""A Verification for people: what was asked, how far apart the answers are, and one line with the verdict."""

from __future__ import annotations

import sys
from typing import Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from build_scripts.verify.result import Verification

_WIDTH: Final = 120  # of tables that go into a file or a pipe


def show(result: Verification, as_json: bool) -> None:
    """On stdout: tables, or one JSON object."""
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)
    if as_json:
        console.file.write(result.model_dump_json(indent=2) + "\n")
    else:
        print_verification(console, result)


def print_verification(console: Console, result: Verification) -> None:
    """Prompts, stages, the rounding, the verdict."""
    console.print(
        f"{result.source}: {result.architecture}, {result.dtype}, tp {result.tensor_parallel} × "
        f"pp {result.pipeline_parallel}: shards against transformers, in float32",
        markup=False,
    )
    console.print(_prompt_table(result))
    console.print(_stage_table(result))
    if result.rounding is not None:
        console.print(
            f"Rounding the weights to {result.dtype} by itself moves the logits by up to "
            f"{result.rounding.max_abs_diff:.2g}; {result.rounding.top1} of {result.tokens} likeliest tokens stay."
        )
    console.print(f"{'PASS' if result.passed else 'FAIL'}: {verdict(result)}", markup=False)


def verdict(result: Verification) -> str:
    """One sentence."""
    if not result.passed:
        return result.failure()
    return (
        f"{len(result.prompts)} prompts, {result.tokens} tokens: logits equal transformers' within "
        f"{result.max_abs_diff:.1e} (allowed: {result.allowed:.0e}), in {result.seconds:.1f} s"
    )


def _prompt_table(result: Verification) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("prompt")
    for column in ("tokens", "max abs difference", "worst position", "top-1 agreement", ""):
        table.add_column(column, justify="right")
    for prompt in result.prompts:
        agreement = f"{prompt.top1}/{prompt.tokens}"
        verdict_shown = "ok" if prompt.within(result.tolerance) else "DIFFERS"
        figures = (f"{prompt.max_abs_diff:.2e}", str(prompt.worst_position), agreement, verdict_shown)
        table.add_row(prompt.name, str(prompt.tokens), *figures)
    return table


def _stage_table(result: Verification) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for column in ("stage", "ranks", "layers", "hidden states, relative difference", "worst layer"):
        table.add_column(column, justify="right")
    for stage in range(result.pipeline_parallel):
        layers = [layer for layer in result.layers if layer.stage == stage]
        worst = max(layers, key=lambda layer: layer.difference)
        first = stage * result.tensor_parallel
        ranks = _span(first, first + result.tensor_parallel - 1)
        span = _span(layers[0].layer, layers[-1].layer)
        table.add_row(str(stage), ranks, span, f"{worst.difference:.2e}", str(worst.layer))
    return table


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
