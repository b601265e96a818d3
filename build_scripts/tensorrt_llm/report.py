"""What a build would write, for `--plan`: tables for people, JSON values for machines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from build_scripts.engine.builder import Step
from build_scripts.tensorrt_llm.fitting.tables import capacity, gb, headline, plan_json, steps_json, table
from build_scripts.tensorrt_llm.sharding.layout import RankFile
from build_scripts.tensorrt_llm.sharding.plan import RankPlan, ShardPlan
from build_scripts.tensorrt_llm.sharding.rules import ShardTensor

_LAYER: Final = re.compile(r"\.layers\.\d+\.")


@dataclass(frozen=True, slots=True)
class ShardPreview:
    """The shards of engine `name`, and how they are compiled."""

    name: str
    plan: ShardPlan
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, bytes as whole numbers. `kv_tokens` and `sequences` are null where no GPU is given."""
        ranks = self.plan.ranks
        return {
            **plan_json(self.name, self.plan.decoder, self.plan),
            "file_bytes": sum(rank.file.file_bytes for rank in ranks),
            "ranks": [_rank_json(self.plan, rank) for rank in ranks],
            "steps": steps_json(self.steps),
        }

    def print(self, console: Console) -> None:
        """Ranks, tensors, capacity."""
        console.print(headline(self.name, self.plan.decoder, self.plan.asked))
        console.print(_rank_table(self.plan))
        console.print(_tensor_table(self.plan))
        console.print("\n".join([*self.plan.asked.notes, capacity(self.plan)]))


def _rank_json(plan: ShardPlan, rank: RankPlan) -> dict[str, Any]:
    file, parallel = rank.file, plan.asked.parallel
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
            {"name": t.name, "dtype": file.dtype_of(t), "shape": list(t.shape), "bytes": file.bytes_of(t)}
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

    def kind(file: RankFile, tensor: ShardTensor) -> tuple[str, tuple[int, ...], int]:
        return (_LAYER.sub(".layers.N.", tensor.name), tensor.shape, file.bytes_of(tensor))

    counts = [Counter(kind(rank.file, tensor) for tensor in rank.file.tensors) for rank in _stages(plan)]
    rows = table("tensor of each rank", "shape", "bytes", *(f"in stage {number}" for number in range(len(counts))))
    rows.columns[0].justify = "left"
    for name, shape, nbytes in dict.fromkeys(key for count in counts for key in count):
        each = [str(count[name, shape, nbytes] or "") for count in counts]
        rows.add_row(name, " × ".join(map(str, shape)), f"{nbytes:,}", *each)
    return rows


def _stages(plan: ShardPlan) -> Sequence[RankPlan]:
    """The first rank of each stage."""
    return plan.ranks[:: plan.asked.parallel.tp_size]
