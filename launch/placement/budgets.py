"""Whether engines fit beside each other into the memory of the GPUs, or of the machine, that they share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from triton_repo.contract.errors import LaunchError
from triton_repo.contract.placement.memory import MemoryNeed

_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one GPU, or of the machine; `remedy` is what else helps where engines do not fit."""

    name: str
    num_bytes: int
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What an engine is to have of one memory, for so many of its ranks or processes there."""

    engine: str
    need: MemoryNeed
    count: int = 1


def check_budgets(memory: Memory, claims: Sequence[Claim]) -> None:
    """Triton loads models in any order and at once, so each engine must fit beside the others however these came first.

    Raises:
        LaunchError: an engine shares the memory, takes what it finds free, and its spec says no size of its KV cache;
            their fractions are more than the whole; or what the engines ask for is more than there is. The first
            engine that does not fit is named.
    """
    for claim in claims if sum(claim.count for claim in claims) > 1 else ():
        if claim.need.takes_what_is_free and not _states_budget(claim.need):
            raise LaunchError(_states_none(claim, memory, claims))
    _check_shares(memory, claims)
    for position, newest in enumerate(claims):
        for claim in (newest, *claims[:position]):
            others = [other for other in claims[: position + 1] if other is not claim]
            taken = most_taken(others, memory)
            if taken + bytes_asked(claim) > memory.num_bytes:
                raise LaunchError(_does_not_fit(claim, memory, taken, others))


def bytes_asked(claim: Claim) -> int:
    """What must be free for it to start: its KV cache has room for one sequence of full length at the least."""
    need = claim.need
    return claim.count * (need.fixed_bytes + _free_for_cache(need))


def most_taken(claims: Iterable[Claim], memory: Memory) -> int:
    """What engines may have taken once all have started.

    A fraction is of what an engine finds free when its weights are there. The order that takes most of the memory has
    first those that take a large fraction beside small weights: whichever of two comes first, what both have taken
    differs by w₂(1-f₂)f₁ - w₁(1-f₁)f₂.
    """
    needs = [claim.need for claim in claims for _ in range(claim.count)]
    taken = 0
    for need in sorted(needs, key=lambda need: need.fixed_bytes * (1 - _share(need)) / (_share(need) or 1e-9)):
        taken += need.fixed_bytes + _cache_bytes(need, memory.num_bytes - taken - need.fixed_bytes)
    return taken


def _cache_bytes(need: MemoryNeed, free: int) -> int:
    if need.kv_cache_bytes is not None:
        return need.kv_cache_bytes
    return max(int(_share(need) * max(0, free)), need.least_kv_cache_bytes)


def _free_for_cache(need: MemoryNeed) -> int:
    """So much must be free for the cache that the spec asks for, or for the least one."""
    if need.kv_cache_bytes is not None:
        return need.kv_cache_bytes
    return ceil(need.least_kv_cache_bytes / (_share(need) or 1))


def _share(need: MemoryNeed) -> float:
    return need.kv_cache_share or 0.0 if need.kv_cache_bytes is None else 0.0


def _check_shares(memory: Memory, claims: Sequence[Claim]) -> None:
    """Engines that start at once may each find free what the others are about to take."""
    total = 0.0
    for position, claim in enumerate(claims):
        total += claim.count * _share(claim.need)
        if total > 1 + _ROUNDING and position:
            raise LaunchError(
                f"engine {claim.engine}: shares {memory.name} with {_names(claims[:position])}: together they ask for "
                f"{total:.2f} of the free memory (serve.kv_cache_free_gpu_memory_fraction): must be ≤ 1{memory.remedy}"
            )


def _states_budget(need: MemoryNeed) -> bool:
    return need.kv_cache_bytes is not None or need.kv_cache_share is not None


def _states_none(claim: Claim, memory: Memory, claims: Iterable[Claim]) -> str:
    others = _names(other for other in claims if other is not claim)
    return (
        f"engine {claim.engine}: shares {memory.name} with {others}, and without serve.kv_cache_bytes its KV cache "
        "takes nearly all of the memory that it finds free: say serve.kv_cache_bytes, or choose other GPUs "
        "(placement.gpus)"
    )


def _does_not_fit(claim: Claim, memory: Memory, taken: int, others: Sequence[Claim]) -> str:
    need, times, asked = claim.need, f"{claim.count} × " if claim.count > 1 else "", _gb(bytes_asked(claim))
    parts = f"{_gb(need.weight_bytes)} of weights, {_gb(need.working_bytes)} of working memory"
    cache = f"{_gb(_free_for_cache(need))} {'of' if _share(need) == 0 else 'free for the least'} KV cache"
    left = f"{_gb(max(0, memory.num_bytes - taken))} of {_gb(memory.num_bytes)}"
    beside = f" beside {_names(others)}" if others else ""
    return (
        f"engine {claim.engine}: does not fit {memory.name}: asks for {asked} ({times}{parts}, "
        f"{cache}), and {left} are available{beside}: lower serve.kv_cache_bytes{memory.remedy}"
    )


def _names(claims: Iterable[Claim]) -> str:
    return ", ".join(dict.fromkeys(claim.engine for claim in claims)) or "other instances of it"


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"
