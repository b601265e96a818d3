"""`--plan` for any architecture: what its ranks weigh and hold, from `config.json` alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from build_scripts.sizing import ModelShape
from build_scripts.tensorrt_llm.fitting.memory import Stage, Weights, stages
from build_scripts.tensorrt_llm.fitting.rules import allowed_sizes, check_split
from build_scripts.tensorrt_llm.sharding.gpus import Gpus
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.plan import LARGEST_WORLD, Asked, check_gpus, remedy
from triton_repo.contract.errors import SpecError

_GPUS_PER_NODE: Final = 8


@dataclass(frozen=True, slots=True)
class FitPlan:
    """A model in the split of `asked`, its weights stored as `weights`, for `gpus`, None where none are given."""

    shape: ModelShape
    asked: Asked
    weights: Weights
    gpus: Gpus | None
    stages: tuple[Stage, ...]

    @property
    def kv_bytes_per_token(self) -> int:
        """Over all ranks."""
        return int(sum(stage.kv_bytes_per_token for stage in self.stages) * self.asked.parallel.tp_size)

    @property
    def kv_tokens(self) -> int | None:
        return min((stage.kv_tokens for stage in self.stages if stage.kv_tokens is not None), default=None)

    @property
    def sequences(self) -> int | None:
        """Of `max_seq_len` tokens that run at once; never more than `max_batch_size`."""
        fitting = [stage.sequences for stage in self.stages if stage.sequences is not None]
        return min(*fitting, self.asked.limits.max_batch_size) if fitting else None


def make_fit_plan(shape: ModelShape, asked: Asked, weights: Weights, gpus: Gpus | None, source: str) -> FitPlan:
    """Raises: SpecError: the model cannot be split so, or does not fit; names the rule and what would do."""
    check_split(shape, asked.parallel, asked.origin, source)
    if gpus is not None:
        check_gpus(asked, gpus)
    memory = gpus.gpu.memory_bytes if gpus else None
    plan = FitPlan(shape, asked, weights, gpus, stages(shape, asked.parallel, weights, asked.limits, memory))
    full = next((stage for stage in plan.stages if stage.sequences == 0), None)
    if gpus is not None and full is not None:
        raise SpecError(_does_not_fit(plan, gpus, full))
    return plan


def _does_not_fit(plan: FitPlan, gpus: Gpus, full: Stage) -> str:
    asked = plan.asked
    length, parallel = asked.limits.max_seq_len, asked.parallel
    rank = plan.stages.index(full) * parallel.tp_size
    parts = f"{_gb(full.weight_bytes)} of weights, {_gb(full.activation_bytes)} of working memory"
    return (
        f"{asked.origin}: tp × pp = {parallel.tp_size} × {parallel.pp_size}: rank {rank} does not fit {gpus.gpu.name} "
        f"({_gb(gpus.gpu.memory_bytes)}): {parts} and {_gb(full.sequence_bytes(length))} for one sequence of {length} "
        f"tokens; {remedy(_splits_that_fit(plan, gpus), gpus)}"
    )


def _splits_that_fit(plan: FitPlan, gpus: Gpus) -> list[Parallelism]:
    """Fewest ranks first; of equals the one with the most tensor parallelism inside a machine."""
    candidates = [
        Parallelism(tp_size, pp_size)
        for tp_size in allowed_sizes(plan.shape, _GPUS_PER_NODE)
        for pp_size in range(1, min(len(plan.shape.layers), LARGEST_WORLD // tp_size) + 1)
    ]
    ordered = sorted(candidates, key=lambda parallel: (parallel.world_size, parallel.pp_size))
    memory, limits = gpus.gpu.memory_bytes, plan.asked.limits
    first = (
        parallel
        for parallel in ordered
        if all(stage.sequences != 0 for stage in stages(plan.shape, parallel, plan.weights, limits, memory))
    )
    return [found] if (found := next(first, None)) is not None else []


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
