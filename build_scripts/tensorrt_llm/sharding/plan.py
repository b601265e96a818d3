"""`--plan`: what a build would write, and whether a GPU can hold it, from the configuration and headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from build_scripts.architectures import Decoder
from build_scripts.spec.errors import spec_error
from build_scripts.tensorrt_llm.sharding.gpus import Gpus
from build_scripts.tensorrt_llm.sharding.layout import RankFile, rank_file
from build_scripts.tensorrt_llm.sharding.limits import allowed_tp_sizes, check_parallelism, most_stages
from build_scripts.tensorrt_llm.sharding.memory import Limits, RankMemory, kv_bytes_per_token, rank_memory
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.quantization import Quantization, engine_bytes
from triton_repo.contract.errors import SpecError
from triton_repo.contract.gpu import Gpu

LARGEST_WORLD: Final = 64
_GPUS_PER_NODE: Final = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What the spec (or the flags) `origin` asks for; `how` are the sizes of what `quantization` names.

    `notes` are for people, beside the figures.
    """

    origin: str
    parallel: Parallelism
    dtype: str
    quantization: str
    how: Quantization
    limits: Limits
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RankPlan:
    """One rank: its file, the bytes of its weights on the GPU, and its memory where a GPU is given."""

    file: RankFile
    layers: range
    engine_bytes: int
    kv_bytes_per_token: int
    memory: RankMemory | None


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """A build for `gpus`, None where none are given; the capacity is that of the fullest rank."""

    decoder: Decoder
    asked: Asked
    gpus: Gpus | None
    ranks: tuple[RankPlan, ...]

    @property
    def kv_bytes_per_token(self) -> int:
        """Over all ranks."""
        return sum(rank.kv_bytes_per_token for rank in self.ranks)

    @property
    def kv_tokens(self) -> int | None:
        return min((rank.memory.kv_tokens for rank in self.ranks if rank.memory), default=None)

    @property
    def sequences(self) -> int | None:
        """Sequences of `max_seq_len` tokens that run at once; never more than `max_batch_size`."""
        fitting = min((rank.memory.sequences for rank in self.ranks if rank.memory), default=None)
        return None if fitting is None else min(fitting, self.asked.limits.max_batch_size)


def make_shard_plan(decoder: Decoder, asked: Asked, gpus: Gpus | None) -> ShardPlan:
    """Raises: SpecError: the model cannot be split so, or does not fit; names the rule and what would do."""
    check_parallelism(decoder, asked.parallel, asked.origin)
    if gpus is not None:
        check_gpus(asked, gpus)
    plan = ShardPlan(decoder, asked, gpus, _ranks(decoder, asked, asked.parallel, gpus.gpu if gpus else None))
    full = next((rank for rank in plan.ranks if rank.memory and not rank.memory.fits), None)
    if gpus is not None and full is not None:
        raise SpecError(_does_not_fit(decoder, asked, gpus, full))
    return plan


def _ranks(decoder: Decoder, asked: Asked, parallel: Parallelism, gpu: Gpu | None) -> tuple[RankPlan, ...]:
    return tuple(_rank(decoder, asked, parallel, rank, gpu) for rank in range(parallel.world_size))


def _rank(decoder: Decoder, asked: Asked, parallel: Parallelism, rank: int, gpu: Gpu | None) -> RankPlan:
    file = rank_file(decoder, parallel, asked.dtype, rank)
    weight_bytes, pp_rank = engine_bytes(file, asked.how), parallel.pp_rank(rank)
    kv = kv_bytes_per_token(decoder, parallel, pp_rank, asked.limits.kv_bits)
    memory = rank_memory(decoder, parallel, rank, weight_bytes, asked.limits, gpu.memory_bytes) if gpu else None
    return RankPlan(file, parallel.layers(pp_rank, decoder.num_layers), weight_bytes, kv, memory)


def check_gpus(asked: Asked, gpus: Gpus) -> None:
    """Raises: SpecError: there are too few, or their kind does not compute in this format."""
    world, count, capability = asked.parallel.world_size, gpus.count, gpus.gpu.capability
    if count is not None and world > count:
        product = (
            f"build.tensor_parallel × build.pipeline_parallel ({asked.parallel.tp_size} × {asked.parallel.pp_size})"
        )
        raise spec_error(asked.origin, product, world, f"must be ≤ {count}, the GPUs ({gpus.gpu.name})")
    how = asked.how
    if capability is not None and capability < how.capability:
        has = f"{gpus.gpu.name} has {gpus.gpu.compute_capability}"
        rule = f"needs compute capability {_dotted(how.capability)} ({how.cards}); {has}"
        raise spec_error(asked.origin, "build.quantization", asked.quantization, rule)


def _does_not_fit(decoder: Decoder, asked: Asked, gpus: Gpus, full: RankPlan) -> str:
    memory, gpu = full.memory, gpus.gpu
    assert memory is not None  # noqa: S101 - a rank without memory is never full
    needed = memory.kv_bytes_per_token * asked.limits.max_seq_len
    shown = f"{asked.parallel.tp_size} × {asked.parallel.pp_size}"
    parts = f"{_gb(memory.weight_bytes)} of weights, {_gb(memory.activation_bytes)} of working memory and {_gb(needed)}"
    what_fits = remedy(_splits_that_fit(decoder, asked, gpus), gpus)
    return (
        f"{asked.origin}: tp × pp = {shown}: rank {full.file.rank} does not fit {gpu.name} ({_gb(gpu.memory_bytes)}): "
        f"{parts} for one sequence of {asked.limits.max_seq_len} tokens; {what_fits}"
    )


def remedy(fitting: Sequence[Parallelism], gpus: Gpus) -> str:
    """What to do about a model that does not fit; `fitting` is the smallest split that does, if there is one."""
    if not fitting:
        return f"no split of up to {LARGEST_WORLD} ranks does"
    smallest = f"--tp {fitting[0].tp_size} --pp {fitting[0].pp_size}"
    if gpus.count is None or fitting[0].world_size <= gpus.count:
        return f"{smallest} is the smallest that does"
    return f"no split over {gpus.count} does; {smallest}, on {fitting[0].world_size}, is the smallest that does"


def _splits_that_fit(decoder: Decoder, asked: Asked, gpus: Gpus) -> list[Parallelism]:
    """The one of the fewest ranks; of equals the one with the most tensor parallelism inside a machine."""
    experts = asked.parallel.moe_ep_size
    candidates = [
        replace(asked.parallel, tp_size=tp_size, pp_size=pp_size)
        for tp_size in allowed_tp_sizes(decoder, _GPUS_PER_NODE, experts)
        for pp_size in range(1, most_stages(decoder, LARGEST_WORLD // tp_size) + 1)
    ]
    for parallel in sorted(candidates, key=lambda parallel: (parallel.world_size, parallel.pp_size)):
        firsts = range(0, parallel.world_size, parallel.tp_size)  # the ranks of a stage are alike
        plans = (_rank(decoder, asked, parallel, rank, gpus.gpu) for rank in firsts)
        if all(plan.memory and plan.memory.fits for plan in plans):
            return [parallel]
    return []


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
