"""What a build would write, for `--plan`: tables for people, JSON values for machines."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from build_scripts.engine.builder import Step
from build_scripts.tensorrt_llm.fitting.tables import capacity, gb, gpu_json, steps_json, table
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
        return _plan_json(self.name, self.plan) | {"steps": steps_json(self.steps)}

    def print(self, console: Console) -> None:
        """Ranks, tensors, capacity."""
        asked, decoder = self.plan.asked, self.plan.decoder
        console.print(
            f"{self.name}: {decoder.architecture}, {decoder.parameters:,} parameters, {asked.dtype}, "
            f"quantization {asked.quantization}, tp {asked.parallel.tp_size} × pp {asked.parallel.pp_size}"
        )
        console.print(_rank_table(self.plan))
        console.print(_tensor_table(self.plan))
        console.print(_capacity(self.plan))


def _plan_json(name: str, plan: ShardPlan) -> dict[str, Any]:
    asked, decoder = plan.asked, plan.decoder
    return {
        "engine": name,
        "architecture": decoder.architecture,
        "parameters": decoder.parameters,
        "dtype": asked.dtype,
        "quantization": asked.quantization,
        "tensor_parallel": asked.parallel.tp_size,
        "pipeline_parallel": asked.parallel.pp_size,
        "world_size": asked.parallel.world_size,
        "gpu": gpu_json(plan.gpus),
        "max_seq_len": asked.limits.max_seq_len,
        "max_batch_size": asked.limits.max_batch_size,
        "max_num_tokens": asked.limits.max_num_tokens,
        "file_bytes": sum(rank.file.file_bytes for rank in plan.ranks),
        "kv_value_bits": asked.limits.kv_bits,
        "kv_bytes_per_token": plan.kv_bytes_per_token,
        "kv_tokens": plan.kv_tokens,
        "sequences": plan.sequences,
        "reserve_bytes": asked.limits.reserve_bytes,
        "notes": list(asked.notes),
        "ranks": [_rank_json(plan, rank) for rank in plan.ranks],
    }  # fmt: skip


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
    rows = table(*columns)
    for rank in _stages(plan):
        last = rank.file.rank + plan.asked.parallel.tp_size - 1
        ranks = str(last) if last == rank.file.rank else f"{rank.file.rank}-{last}"
        layers = f"{rank.layers.start}-{rank.layers.stop - 1}"
        figures = [f"{rank.file.file_bytes:,}", gb(rank.engine_bytes), f"{rank.kv_bytes_per_token / 1024:,.1f} KiB"]
        if rank.memory is not None:
            memory = rank.memory
            figures += [gb(memory.activation_bytes), gb(memory.adapter_bytes), f"{memory.kv_tokens:,}"]
        rows.add_row(ranks, layers, str(len(rank.file.tensors)), *figures)
    return rows


def _tensor_table(plan: ShardPlan) -> Table:
    """The layers are alike: one row for all of them."""
    counts = [Counter((_LAYER.sub(".layers.N.", t.name), t.shape) for t in rank.file.tensors) for rank in _stages(plan)]
    rows = table("tensor of each rank", "shape", "bytes", *(f"in stage {number}" for number in range(len(counts))))
    rows.columns[0].justify = "left"
    for name, shape in dict.fromkeys(key for count in counts for key in count):
        nbytes = math.prod(shape) * ITEM_SIZES[plan.asked.dtype]
        each = [str(count[name, shape] or "") for count in counts]
        rows.add_row(name, " × ".join(map(str, shape)), f"{nbytes:,}", *each)
    return rows


def _stages(plan: ShardPlan) -> Sequence[RankPlan]:
    """The first rank of each stage."""
    return plan.ranks[:: plan.asked.parallel.tp_size]


def _capacity(plan: ShardPlan) -> str:
    per_token = f"KV cache: {plan.kv_bytes_per_token / 1024:,.1f} KiB per token over all ranks"
    limits = plan.asked.limits
    return "\n".join([*plan.asked.notes, f"{per_token}. {capacity(plan.gpus, plan.kv_tokens, plan.sequences, limits)}"])
