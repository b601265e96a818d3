"""The memory that the LoRA adapters of an engine take on each GPU, as TensorRT-LLM 1.2 computes it. Pure arithmetic.

The PyTorch flow keeps room for all of them at the highest rank: a cache of pages of slots, counted as in
`PeftCacheManager::getPageManagerConfig` (cpp/tensorrt_llm/batch_manager/peftCacheManager.cpp) from the numbers of
`_torch/pyexecutor/_util.py`. A compiled engine gives them a share of the memory that it leaves free
(`PeftCacheConfig`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from build_scripts.architectures import Decoder
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism

_SHARE: Final = 0.02  # of what a compiled engine leaves free: device_cache_percent
_OPTIMAL_RANK, _LARGEST_RANK = 8, 64  # optimal_adapter_size, max_adapter_size
_QKV: Final = ("attn_q", "attn_k", "attn_v")


@dataclass(frozen=True, slots=True)
class AdapterBounds:
    """How many adapters there are and what bounds them all; `resident` keeps all loaded, as the PyTorch flow does."""

    count: int
    max_rank: int
    target_modules: tuple[str, ...]
    resident: bool


def adapter_cache_bytes(  # noqa: PLR0913, PLR0917 - all that the cache depends on
    decoder: Decoder, parallel: Parallelism, rank: int, bounds: AdapterBounds, value_bytes: int, free_bytes: int
) -> int:
    """Bytes of the adapters' cache on the GPU of `rank`, where the engine leaves `free_bytes` free."""
    if not bounds.resident:
        return int(free_bytes * _SHARE)
    sizes = _sizes_at_rank_one(decoder, parallel.tp_size, bounds.target_modules)
    width, widest = min(sizes), max(sizes)
    layers = len(parallel.layers(parallel.pp_rank(rank), decoder.num_layers))
    slots = bounds.count * bounds.max_rank * decoder.num_layers * len(sizes) * _ceil(widest, width)
    optimal = min(_OPTIMAL_RANK, bounds.max_rank) * layers * sum(_ceil(size, width) for size in sizes)
    slots_of_a_page = max(optimal, _ceil(min(_LARGEST_RANK, bounds.max_rank) * widest, width))
    return _ceil(slots, slots_of_a_page) * slots_of_a_page * width * value_bytes


def _sizes_at_rank_one(decoder: Decoder, tp_size: int, target_modules: tuple[str, ...]) -> list[int]:
    """Values of each module that may be adapted, on one rank; where one of q, k, v is adapted, all three are."""
    hidden, inner, q = decoder.hidden_size, decoder.intermediate_size // tp_size, decoder.q_size // tp_size
    kv = max(1, decoder.num_kv_heads // tp_size) * decoder.head_size
    sizes = {
        "attn_q": hidden + q,
        "attn_k": hidden + kv,
        "attn_v": hidden + kv,
        "attn_dense": q + hidden,
        "mlp_h_to_4h": hidden + inner,
        "mlp_gate": hidden + inner,
        "mlp_4h_to_h": inner + hidden,
    }
    adapted = {*target_modules, *(_QKV if set(_QKV) & set(target_modules) else ())}
    return [size for name, size in sizes.items() if name in adapted]


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
