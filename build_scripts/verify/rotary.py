"""The rotary embedding of TensorRT-LLM's attention (functional.py `RopeEmbeddingUtils`), from `config.json` alone."""

from __future__ import annotations

import math

import torch

from build_scripts.verify.shards import RotaryScaling, ShardConfig


def angles(config: ShardConfig, length: int) -> torch.Tensor:
    """[length, head_size / 2]: how far each pair of values is turned at each position."""
    scaling, base = config.rotary_scaling, config.rotary_base
    if scaling is not None and scaling.rope_type == "dynamic" and length > config.max_position_embeddings:
        growth = scaling.factor * length / config.max_position_embeddings - (scaling.factor - 1)
        base *= growth ** (config.head_size / (config.head_size - 2))
    frequencies = 1 / base ** (torch.arange(0, config.head_size, 2, dtype=torch.float64) / config.head_size)
    if scaling is not None and scaling.rope_type == "linear":
        frequencies /= scaling.factor
    if scaling is not None and scaling.rope_type == "llama3":
        frequencies = _llama3(frequencies, scaling)
    turn: torch.Tensor = torch.outer(torch.arange(length, dtype=torch.float32), frequencies.float())
    return turn


def _llama3(frequencies: torch.Tensor, scaling: RotaryScaling) -> torch.Tensor:
    """Long waves are stretched by `factor`, short ones are left, those between are mixed (`apply_llama3_scaling`)."""
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    waves_in_context = scaling.original_max_position_embeddings * frequencies / (2 * math.pi)
    kept = ((waves_in_context - low) / (high - low)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / scaling.factor)


def rotate(heads: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """`heads` [..., heads, positions, head_size] turned; a value's partner lies half a head away (gpt_neox)."""
    cos, sin = turn.cos(), turn.sin()
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
