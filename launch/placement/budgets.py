"""Whether engines fit beside each other into the memory of the GPUs, or of the machine, that they share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from triton_repo.contract.errors import LaunchError
from triton_repo.contract.placement.memory import MemoryNeed


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
    """
    Raises:
        LaunchError: an engine shares the memory, takes what it finds free, and its spec says no size of its KV cache;
            or what the engines ask for is more than there is. The first engine that does not fit is named.
    """
    for claim in claims if sum(claim.count for claim in claims) > 1 else ():
        if claim.need.takes_what_is_free and not _states_budget(claim.need):
            raise LaunchError(_states_none(claim, memory, claims))
    taken = 0
    for position, claim in enumerate(claims):
        asked = bytes_asked(claim, memory)
        if taken + asked > memory.num_bytes:
            raise LaunchError(_does_not_fit(claim, memory, taken, claims[:position]))
        taken += asked


def bytes_asked(claim: Claim, memory: Memory) -> int:
    """What the spec asks for; where it says no size of the KV cache, room for one sequence of full length."""
    need = claim.need
    return claim.count * (need.fixed_bytes + _cache_bytes(need, memory))


def _cache_bytes(need: MemoryNeed, memory: Memory) -> int:
    if need.kv_cache_bytes is not None:
        return need.kv_cache_bytes
    if need.kv_cache_share is not None:  # of what is free once the weights are there: at most of all but those
        share = int(need.kv_cache_share * max(0, memory.num_bytes - need.fixed_bytes))
        return max(share, need.least_kv_cache_bytes)
    return need.least_kv_cache_bytes


def _states_budget(need: MemoryNeed) -> bool:
    return need.kv_cache_bytes is not None or need.kv_cache_share is not None


def _states_none(claim: Claim, memory: Memory, claims: Iterable[Claim]) -> str:
    others = _names(other for other in claims if other is not claim)
    return (
        f"engine {claim.engine}: shares {memory.name} with {others}, and without serve.kv_cache_bytes its KV cache "
        "takes nearly all of the memory that it finds free: say serve.kv_cache_bytes, or choose other GPUs "
        "(placement.gpus)"
    )


def _does_not_fit(claim: Claim, memory: Memory, taken: int, before: Sequence[Claim]) -> str:
    need, times, asked = claim.need, f"{claim.count} × " if claim.count > 1 else "", _gb(bytes_asked(claim, memory))
    parts = f"{_gb(need.weight_bytes)} of weights, {_gb(need.working_bytes)} of working memory"
    cache = f"{_gb(_cache_bytes(need, memory))} of KV cache"
    left = f"{_gb(max(0, memory.num_bytes - taken))} of {_gb(memory.num_bytes)}"
    beside = f" beside {_names(before)}" if before else ""
    return (
        f"engine {claim.engine}: does not fit {memory.name}: asks for {asked} ({times}{parts}, "
        f"{cache}), and {left} are available{beside}: lower serve.kv_cache_bytes{memory.remedy}"
    )


def _names(claims: Iterable[Claim]) -> str:
    return ", ".join(dict.fromkeys(claim.engine for claim in claims)) or "other instances of it"


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"
