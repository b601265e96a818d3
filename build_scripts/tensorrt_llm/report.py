"""What a build would write, for `--plan`: tables for people, JSON values for machines."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from build_scripts.engine.builder import Step
from build_scripts.tensorrt_llm.sharding.plan import RankPlan, ShardPlan
from build_scripts.weights.view import ITEM_SIZES

_LAYER: Final = re.compile(r"\.layers\.\d+\.")


@dataclass(frozen=True, slots=True)
class ShardPreview:
    """The shards of engine `name`, and how they are compiled."""

    name: str
    plan: ShardPlan
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, bytes as whole numbers. `kv_tokens` and `sequences` are null where no GPU is given."""
        return _plan_json(self.name, self.plan) | {"steps": _steps_json(self.steps)}

    def print(self, console: Console) -> None:
        """Ranks, tensors, capacity."""
        asked = self.plan.asked
        console.print(
            f"{self.name}: {self.plan.decoder.architecture}, {asked.dtype}, quantization {asked.quantization}, "
            f"tp {asked.parallel.tp_size} × pp {asked.parallel.pp_size}"
        )
        console.print(_rank_table(self.plan))
        console.print(_tensor_table(self.plan))
        console.print(_capacity(self.plan))


@dataclass(frozen=True, slots=True)
class ConverterPreview:
    """An engine of an architecture that only TensorRT-LLM's own converter knows; `reason` names it."""

    name: str
    reason: str
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        return {"engine": self.name, "converter": "tensorrt_llm", "steps": _steps_json(self.steps)}

    def print(self, console: Console) -> None:
        console.print(f"{self.reason}. TensorRT-LLM's own converter does this one, on a GPU host:", markup=False)


def _plan_json(name: str, plan: ShardPlan) -> dict[str, Any]:
    asked, decoder = plan.asked, plan.decoder
    return {
        "engine": name,
        "architecture": decoder.architecture,
        "dtype": asked.dtype,
        "quantization": asked.quantization,
        "tensor_parallel": asked.parallel.tp_size,
        "pipeline_parallel": asked.parallel.pp_size,
        "world_size": asked.parallel.world_size,
        "gpu": None if plan.gpus is None else {
            "name": plan.gpus.gpu.name, "memory_bytes": plan.gpus.gpu.memory_bytes, "count": plan.gpus.count,
        },
        "max_seq_len": asked.limits.max_seq_len,
        "max_batch_size": asked.limits.max_batch_size,
        "max_num_tokens": asked.limits.max_num_tokens,
        "file_bytes": sum(rank.file.file_bytes for rank in plan.ranks),
        "kv_bytes_per_token": plan.kv_bytes_per_token,
        "kv_tokens": plan.kv_tokens,
        "sequences": plan.sequences,
        "ranks": [_rank_json(plan, rank) for rank in plan.ranks],
    }  # fmt: skip


def _steps_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [{"title": step.title, "where": step.where, "argv": list(step.argv)} for step in steps]


def _rank_json(plan: ShardPlan, rank: RankPlan) -> dict[str, Any]:
    file, parallel = rank.file, plan.asked.parallel
    item = ITEM_SIZES[file.dtype]
    return {
        "rank": file.rank,
        "tp_rank": parallel.tp_rank(file.rank),
        "pp_rank": parallel.pp_rank(file.rank),
        "layers": [rank.layers.start, rank.layers.stop],
        "file": file.name,
        "file_bytes": file.file_bytes,
        "weight_bytes": file.weight_bytes,
        "engine_bytes": rank.engine_bytes,
        "activation_bytes": rank.memory.activation_bytes if rank.memory else None,
        "kv_bytes_per_token": rank.kv_bytes_per_token,
        "adapter_bytes": rank.memory.adapter_bytes if rank.memory else None,
        "kv_tokens": rank.memory.kv_tokens if rank.memory else None,
        "tensors": [
            {"name": t.name, "dtype": file.dtype, "shape": list(t.shape), "bytes": math.prod(t.shape) * item}
            for t in file.tensors
        ],
    }


def _rank_table(plan: ShardPlan) -> Table:
    """The tensor-parallel ranks of a stage are alike: one row for all of them."""
    columns = ["ranks", "layers", "tensors", "file bytes", "weights on GPU", "KV per token"]
    columns += ["working memory", "adapters", "KV tokens"] if plan.gpus is not None else []
    table = _table(*columns)
    for rank in _stages(plan):
        last = rank.file.rank + plan.asked.parallel.tp_size - 1
        ranks = str(last) if last == rank.file.rank else f"{rank.file.rank}-{last}"
        layers = f"{rank.layers.start}-{rank.layers.stop - 1}"
        figures = [f"{rank.file.file_bytes:,}", _gb(rank.engine_bytes), f"{rank.kv_bytes_per_token / 1024:,.1f} KiB"]
        if rank.memory is not None:
            memory = rank.memory
            figures += [_gb(memory.activation_bytes), _gb(memory.adapter_bytes), f"{memory.kv_tokens:,}"]
        table.add_row(ranks, layers, str(len(rank.file.tensors)), *figures)
    return table


def _tensor_table(plan: ShardPlan) -> Table:
    """The layers are alike: one row for all of them."""
    counts = [Counter((_LAYER.sub(".layers.N.", t.name), t.shape) for t in rank.file.tensors) for rank in _stages(plan)]
    table = _table("tensor of each rank", "shape", "bytes", *(f"in stage {number}" for number in range(len(counts))))
    table.columns[0].justify = "left"
    for name, shape in dict.fromkeys(key for count in counts for key in count):
        nbytes = math.prod(shape) * ITEM_SIZES[plan.asked.dtype]
        each = [str(count[name, shape] or "") for count in counts]
        table.add_row(name, " × ".join(map(str, shape)), f"{nbytes:,}", *each)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def _stages(plan: ShardPlan) -> Sequence[RankPlan]:
    """The first rank of each stage."""
    return plan.ranks[:: plan.asked.parallel.tp_size]


def _capacity(plan: ShardPlan) -> str:
    per_token = f"KV cache: {plan.kv_bytes_per_token / 1024:,.1f} KiB per token over all ranks"
    limits = plan.asked.limits
    if plan.gpus is None:
        return f"{per_token}. No GPU given (--gpu h100-80gb): so whether it fits is not known."
    return (
        f"{per_token}. {plan.gpus.gpu.name} ({_gb(plan.gpus.gpu.memory_bytes)}) holds {plan.kv_tokens:,} tokens: "
        f"{plan.sequences} sequences of {limits.max_seq_len:,} at once (max_batch_size {limits.max_batch_size})."
    )


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
