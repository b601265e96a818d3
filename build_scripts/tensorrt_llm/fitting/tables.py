"""What every plan shows in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from build_scripts.engine.builder import Step
from build_scripts.tensorrt_llm.sharding.gpus import Gpus
from build_scripts.tensorrt_llm.sharding.memory import Limits


def table(*columns: str) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def capacity(gpus: Gpus | None, kv_tokens: int | None, sequences: int | None, limits: Limits) -> str:
    """What fits, and what is assumed."""
    if gpus is None:
        return "No GPU given (--gpu h100-80gb): so whether it fits is not known."
    tokens = "" if kv_tokens is None else f"{kv_tokens:,} tokens: "
    return (
        f"{gpus.gpu.name} ({gb(gpus.gpu.memory_bytes)}) holds {tokens}{sequences} sequences of {limits.max_seq_len:,} "
        f"at once (max_batch_size {limits.max_batch_size}), if {gb(limits.reserve_bytes)} do for the CUDA context, "
        "workspaces and NCCL (--reserve)."
    )


def gpu_json(gpus: Gpus | None) -> dict[str, Any] | None:
    if gpus is None:
        return None
    return {"name": gpus.gpu.name, "memory_bytes": gpus.gpu.memory_bytes, "count": gpus.count}


def steps_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [{"title": step.title, "where": step.where, "argv": list(step.argv)} for step in steps]


def gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
