"""Layers without a cache that grows: the gated delta rule (Qwen3-Next, Qwen3.5), and Mamba 2 (Nemotron-H)."""

from __future__ import annotations

from build_scripts.sizing.numbers import Numbers
from build_scripts.sizing.shape import Cache, Layer


def delta_rule(numbers: Numbers) -> Layer:
    hidden = numbers.hidden_size
    heads = numbers.count("linear_num_value_heads")
    k_size, v_size = numbers.count("linear_key_head_dim"), numbers.count("linear_value_head_dim")
    k, v = numbers.count("linear_num_key_heads") * k_size, heads * v_size
    kernel = numbers.count("linear_conv_kernel_dim")
    mixed = 2 * k + v
    linear = hidden * (2 * k + 2 * v) + v * hidden
    rest = mixed * kernel + 2 * heads + v_size
    state = heads * k_size * v_size + mixed * (kernel - 1)
    return Layer(linear, hidden * 2 * heads, rest, linear, Cache(state_values=state))


def mamba2(numbers: Numbers) -> Layer:
    hidden, heads = numbers.hidden_size, numbers.count("mamba_num_heads", "mamba_n_heads")
    inner = heads * numbers.count("mamba_head_dim", "mamba_d_head")
    size, kernel = numbers.count("ssm_state_size", "mamba_d_state"), numbers.count("conv_kernel", "mamba_d_conv")
    mixed = inner + 2 * numbers.count("n_groups", "mamba_n_groups") * size
    linear = hidden * (inner + mixed + heads) + inner * hidden
    bias = mixed if numbers.flag("use_conv_bias", "mamba_conv_bias", default=True) else 0
    rest = mixed * kernel + bias + 3 * heads + inner
    return Layer(linear, 0, rest, linear, Cache(state_values=inner * size + mixed * (kernel - 1)))
