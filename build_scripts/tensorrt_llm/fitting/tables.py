"""What every plan shows in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from rich.box import SIMPLE
from rich.table import Table

from build_scripts.engine.builder import Step
from build_scripts.tensorrt_llm.sharding.gpus import Gpus
from build_scripts.tensorrt_llm.sharding.plan import Asked


class Sized(Protocol):
    """A model whose parameters have been counted."""

    @property
    def architecture(self) -> str: ...

    @property
    def parameters(self) -> int: ...


class Plan(Protocol):
    """A model in a split. `kv_tokens` and `sequences` are None where no GPU is given."""

    @property
    def asked(self) -> Asked: ...

    @property
    def gpus(self) -> Gpus | None: ...

    @property
    def kv_bytes_per_token(self) -> int: ...

    @property
    def kv_tokens(self) -> int | None: ...

    @property
    def sequences(self) -> int | None: ...


def headline(name: str, model: Sized, asked: Asked) -> str:
    return (
        f"{name}: {model.architecture}, {model.parameters:,} parameters, {asked.dtype}, "
        f"quantization {asked.quantization}, tp {asked.parallel.tp_size} × pp {asked.parallel.pp_size}"
    )


def plan_json(name: str, model: Sized, plan: Plan) -> dict[str, Any]:
    """Bytes as whole numbers."""
    asked = plan.asked
    return {
        "engine": name,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "dtype": asked.dtype,
        "quantization": asked.quantization,
        "tensor_parallel": asked.parallel.tp_size,
        "pipeline_parallel": asked.parallel.pp_size,
        "world_size": asked.parallel.world_size,
        "gpu": gpu_json(plan.gpus),
        "max_seq_len": asked.limits.max_seq_len,
        "max_batch_size": asked.limits.max_batch_size,
        "max_num_tokens": asked.limits.max_num_tokens,
        "kv_value_bits": asked.limits.kv_bits,
        "kv_bytes_per_token": plan.kv_bytes_per_token,
        "kv_tokens": plan.kv_tokens,
        "sequences": plan.sequences,
        "reserve_bytes": asked.limits.reserve_bytes,
        "notes": list(asked.notes),
    }


def table(*columns: str) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def capacity(plan: Plan) -> str:
    """What a token takes, what fits, and what is assumed."""
    per_token = f"KV cache: {plan.kv_bytes_per_token / 1024:,.1f} KiB per token over all ranks"
    gpus, limits = plan.gpus, plan.asked.limits
    if gpus is None:
        return f"{per_token}. No GPU given (--gpu h100-80gb): so whether it fits is not known."
    tokens = "" if plan.kv_tokens is None else f"{plan.kv_tokens:,} tokens: "
    return (
        f"{per_token}. {gpus.gpu.name} ({gb(gpus.gpu.memory_bytes)}) holds {tokens}{plan.sequences} sequences of "
        f"{limits.max_seq_len:,} at once (max_batch_size {limits.max_batch_size}), if {gb(limits.reserve_bytes)} do "
        "for the CUDA context, workspaces and NCCL (--reserve)."
    )


def gpu_json(gpus: Gpus | None) -> dict[str, Any] | None:
    if gpus is None:
        return None
    return {"name": gpus.gpu.name, "memory_bytes": gpus.gpu.memory_bytes, "count": gpus.count}


def steps_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [{"title": step.title, "where": step.where, "argv": list(step.argv)} for step in steps]


def gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
