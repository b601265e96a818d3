"""Whether the ranks of a split hold a model of any architecture, and how many sequences beside it. Pure arithmetic.

A pipeline stage is as its first rank. Weights are counted by `config.json`; working memory is an estimate. TensorRT-LLM
keeps every token of every layer in the KV cache, also where the model looks back over a window alone: it would keep
less with `max_attention_window`, which Conch does not set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from build_scripts.sizing import Cache, ModelShape
from build_scripts.tensorrt_llm.sharding.memory import Limits
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from build_scripts.tensorrt_llm.sharding.quantization import Quantization

_LOGITS_BYTES: Final = 4  # float32
_STATE_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Weights:
    """How weights are stored: `value_bytes` each, or as `how` says where that compresses them."""

    value_bytes: int
    how: Quantization
    plain_attention: bool = False

    def linear_bytes(self, values: float, columns: int) -> float:
        if not self.how.bits:
            return values * self.value_bytes
        scales = values / (self.how.group or columns)
        return values * self.how.bits / 8 + scales * self.how.scale_bytes


@dataclass(frozen=True, slots=True)
class Stage:
    """One rank of a pipeline stage. `kv_tokens` and `sequences` are None without a GPU.

    Attributes:
        layers: that it has.
        weight_bytes, activation_bytes: on its GPU.
        kv_bytes_per_token: in its KV cache.
        state_bytes: of its recurrent layers, for one sequence.
        kv_tokens: whole blocks beside the weights.
        sequences: of `max_seq_len` tokens each, beside the weights.
    """

    layers: range
    weight_bytes: int
    activation_bytes: int
    kv_bytes_per_token: float
    state_bytes: int
    kv_tokens: int | None = None
    sequences: int | None = None

    def sequence_bytes(self, length: int) -> float:
        return self.kv_bytes_per_token * length + self.state_bytes


def stages(
    shape: ModelShape, parallel: Parallelism, weights: Weights, limits: Limits, memory_bytes: int | None
) -> tuple[Stage, ...]:
    return tuple(_stages(shape, parallel, weights, limits, memory_bytes))


def _stages(
    shape: ModelShape, parallel: Parallelism, weights: Weights, limits: Limits, memory_bytes: int | None
) -> Iterator[Stage]:
    for pp_rank in range(parallel.pp_size):
        layers = parallel.layers(pp_rank, len(shape.layers))
        caches = [shape.layers[index].cache for index in layers]
        kv = sum(_kv_values(cache, parallel.tp_size) for cache in caches) * limits.kv_bits / 8
        state = sum(cache.state_values for cache in caches) // parallel.tp_size * _STATE_BYTES
        stage = Stage(
            layers,
            _weight_bytes(shape, parallel, weights, pp_rank),
            _activation_bytes(shape, parallel, limits, pp_rank),
            kv,
            state,
        )
        yield stage if memory_bytes is None else _filled(stage, limits, memory_bytes)


def _filled(stage: Stage, limits: Limits, memory_bytes: int) -> Stage:
    free = max(0, memory_bytes - limits.reserve_bytes - stage.weight_bytes - stage.activation_bytes)
    room = free * limits.kv_fraction
    blocks_per_sequence = -(-limits.max_seq_len // limits.tokens_per_block)
    block = stage.kv_bytes_per_token * limits.tokens_per_block
    sequence = block * blocks_per_sequence + stage.state_bytes
    tokens = int(room / block) * limits.tokens_per_block if block else None
    return Stage(
        stage.layers,
        stage.weight_bytes,
        stage.activation_bytes,
        stage.kv_bytes_per_token,
        stage.state_bytes,
        tokens,
        int(room / sequence) if sequence else None,
    )


def _kv_values(cache: Cache, tp_size: int) -> int:
    """Of one rank: with fewer heads than ranks each stands on several."""
    if not cache.heads:
        return cache.values_per_token
    return cache.values_per_token // cache.heads * max(1, cache.heads // tp_size)


def _weight_bytes(shape: ModelShape, parallel: Parallelism, weights: Weights, pp_rank: int) -> int:
    tp_size = parallel.tp_size
    plain = Weights(weights.value_bytes, _PLAIN)
    total = 0.0
    for index in parallel.layers(pp_rank, len(shape.layers)):
        layer = shape.layers[index]
        mixer = plain if weights.plain_attention else weights
        linear = mixer.linear_bytes(layer.mixer, shape.hidden_size)
        linear += weights.linear_bytes(layer.linear - layer.mixer, shape.hidden_size)
        total += linear / tp_size + mixer.linear_bytes(layer.copied, shape.hidden_size)
        total += layer.rest * weights.value_bytes
    if pp_rank == 0:
        total += shape.embedding * weights.value_bytes
    if pp_rank == parallel.pp_size - 1:
        head = shape.head or shape.embedding  # a tied one is stored again
        total += (head / tp_size + shape.final) * weights.value_bytes
    return int(total)


def _activation_bytes(shape: ModelShape, parallel: Parallelism, limits: Limits, pp_rank: int) -> int:
    """The widest moment of a layer: the residual and its norm with the projections of either block."""
    tp_size = parallel.tp_size
    heads = 2 * (shape.num_heads + shape.num_kv_heads) * shape.head_size // tp_size
    inner = 3 * shape.intermediate_size * shape.experts_per_token // tp_size
    values = limits.max_num_tokens * (2 * shape.hidden_size + max(heads, inner))
    last = pp_rank == parallel.pp_size - 1
    logits = limits.max_batch_size * shape.vocab_size * _LOGITS_BYTES if last else 0
    return values * limits.value_bytes + logits


_PLAIN: Final = Quantization(None, 0)
