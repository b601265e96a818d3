"""The rotary embedding of TensorRT-LLM's attention (functional.py `RopeEmbeddingUtils`), from `config.json` alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from build_scripts.verify.ranks.shard_config import RotaryScaling, ShardConfig


@dataclass(frozen=True, slots=True)
class Turn:
    """`angles` [length, rotary_size / 2]: how far each pair of values is turned at each position; `scale` stretches."""

    angles: torch.Tensor
    scale: float = 1.0


def turn_of(config: ShardConfig, layer: int, length: int) -> Turn:
    """Of layer `layer` at the first `length` positions."""
    scaling, base, size = config.rotary_scaling, config.rotary_base_of(layer), config.rotary_size
    if scaling is not None and scaling.rope_type == "dynamic" and length > config.max_position_embeddings:
        growth = scaling.factor * length / config.max_position_embeddings - (scaling.factor - 1)
        base *= growth ** (size / (size - 2))
    frequencies = 1 / base ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
    if scaling is not None and scaling.rope_type == "linear":
        frequencies /= scaling.factor
    if scaling is not None and scaling.rope_type == "llama3":
        frequencies = _llama3(frequencies, scaling)
    scale = 1.0
    if config.position_embedding_type == "long_rope":
        frequencies, scale = _long(config, frequencies, length)
    angles: torch.Tensor = torch.outer(torch.arange(length, dtype=torch.float32), frequencies.float())
    return Turn(angles, scale)


def _llama3(frequencies: torch.Tensor, scaling: RotaryScaling) -> torch.Tensor:
    """Long waves are stretched by `factor`, short ones are left, those between are mixed (`apply_llama3_scaling`)."""
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    waves_in_context = scaling.original_max_position_embeddings * frequencies / (2 * math.pi)
    kept = ((waves_in_context - low) / (high - low)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / scaling.factor)


def _long(config: ShardConfig, frequencies: torch.Tensor, length: int) -> tuple[torch.Tensor, float]:
    """Each frequency has a factor of its own (`create_sinusoidal_positions_long_rope`)."""
    original = config.original_max_position_embeddings or config.max_position_embeddings
    short, long = config.longrope_scaling_short_factors, config.longrope_scaling_long_factors
    factors = torch.tensor(long if length > original else short, dtype=torch.float64)
    stretch = config.max_position_embeddings / original
    return frequencies / factors, math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0


def rotate(heads: torch.Tensor, turn: Turn) -> torch.Tensor:
    """`heads` [..., heads, positions, head_size] turned; a value's partner lies half of what is turned away.

    What lies beyond the values that are turned is left.
    """
    size = 2 * turn.angles.shape[-1]
    cos, sin = turn.angles.cos() * turn.scale, turn.angles.sin() * turn.scale
    first, second = heads[..., :size].chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin, heads[..., size:]], dim=-1)
