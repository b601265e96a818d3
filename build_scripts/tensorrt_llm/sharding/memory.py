"""Whether a rank fits into its GPU, and how many tokens and sequences then fit with its weights. Pure arithmetic.

TensorRT-LLM gives `kv_cache_free_gpu_memory_fraction` of the memory that is free once the engine is loaded to the paged
KV cache. Weights and KV bytes are exact; what the engine's own working memory takes is an estimate, on the high side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from build_scripts.architectures import Decoder
from build_scripts.tensorrt_llm.sharding.adapter_cache import AdapterBounds, adapter_cache_bytes
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism

# An assumption: 1.5 GiB for the CUDA context, the libraries' workspaces and NCCL. `--reserve` says another.
RESERVE_BYTES: Final = 3 << 29
_LOGITS_BYTES = 4  # float32


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine is compiled for. Lengths are in tokens; `value_bytes` are those of one activation.

    `reserve_bytes` of each GPU are left to what is neither weights, working memory nor cache.
    """

    max_seq_len: int
    max_batch_size: int
    max_num_tokens: int
    kv_bits: int
    value_bytes: int = 2
    tokens_per_block: int = 32
    kv_fraction: float = 0.9
    adapters: AdapterBounds | None = None
    reserve_bytes: int = RESERVE_BYTES


@dataclass(frozen=True, slots=True)
class RankMemory:
    """The memory of one rank. `kv_tokens` are whole blocks; `sequences` are those of `max_seq_len` tokens each."""

    weight_bytes: int
    activation_bytes: int
    adapter_bytes: int
    kv_bytes_per_token: int
    kv_tokens: int
    sequences: int

    @property
    def fits(self) -> bool:
        """Weights, working memory and at least one sequence of full length."""
        return self.sequences >= 1


def kv_heads_per_rank(decoder: Decoder, parallel: Parallelism) -> int:
    """At least one: with fewer heads than ranks each stands on several."""
    return max(1, decoder.num_kv_heads // parallel.tp_size)


def kv_bytes_per_token(decoder: Decoder, parallel: Parallelism, pp_rank: int, kv_bits: int) -> int:
    """Bytes that one token of one sequence takes in the KV cache of one rank of stage `pp_rank`."""
    layers = len(parallel.layers(pp_rank, decoder.num_layers))
    return 2 * layers * kv_heads_per_rank(decoder, parallel) * decoder.head_size * kv_bits // 8


def rank_memory(  # noqa: PLR0913, PLR0917 - all that memory depends on
    decoder: Decoder, parallel: Parallelism, rank: int, weight_bytes: int, limits: Limits, memory_bytes: int
) -> RankMemory:
    """What fits with `weight_bytes` of weights into a GPU of `memory_bytes`."""
    activations = _activation_bytes(decoder, parallel, rank, limits)
    per_token = kv_bytes_per_token(decoder, parallel, parallel.pp_rank(rank), limits.kv_bits)
    free = max(0, memory_bytes - limits.reserve_bytes - weight_bytes - activations)
    adapters = limits.adapters
    taken = adapter_cache_bytes(decoder, parallel, rank, adapters, limits.value_bytes, free) if adapters else 0
    free = max(0, free - taken)
    blocks = int(free * limits.kv_fraction) // (per_token * limits.tokens_per_block)
    blocks_per_sequence = -(-limits.max_seq_len // limits.tokens_per_block)
    return RankMemory(
        weight_bytes, activations, taken, per_token, blocks * limits.tokens_per_block, blocks // blocks_per_sequence
    )


def _activation_bytes(decoder: Decoder, parallel: Parallelism, rank: int, limits: Limits) -> int:
    """The widest moment of a layer: the residual and its norm with the fused projections of either block."""
    tp_size = parallel.tp_size
    q = decoder.q_size // tp_size
    kv = kv_heads_per_rank(decoder, parallel) * decoder.head_size
    widest = max(2 * q + 2 * kv, 3 * decoder.active_size // tp_size)
    values = limits.max_num_tokens * (2 * decoder.hidden_size + widest)
    logits = limits.max_batch_size * decoder.vocab_size * _LOGITS_BYTES if parallel.is_last_pp_rank(rank) else 0
    return values * limits.value_bytes + logits
