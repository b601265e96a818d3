"""What one tensor-parallel rank computes in one layer, up to where it must ask the others.

Everything that is computed on the way is returned, under the name of the shard's tensor that made it: so that the first
thing that is wrong can be named.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.functional import gelu, layer_norm, linear, relu, silu

from build_scripts.verify.ranks.mixture import mixture
from build_scripts.verify.ranks.rotary import Turn, rotate
from build_scripts.verify.ranks.shard_config import Activation, ShardConfig

CONTEXT = "attention"  # the attention itself, which has no tensor of its own

Steps = dict[str, torch.Tensor]
Weights = Mapping[str, torch.Tensor]


def rms_norm(hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + epsilon) * weight


def norm(config: ShardConfig, weights: Weights, name: str, hidden: torch.Tensor) -> torch.Tensor:
    """An RMS norm, or a layer norm where it has a bias."""
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    if bias is None:
        return rms_norm(hidden, weight, config.norm_epsilon)
    return layer_norm(hidden, hidden.shape[-1:], weight, bias, config.norm_epsilon)


def attention(config: ShardConfig, weights: Weights, hidden: torch.Tensor, turn: Turn) -> Steps:
    """Of `hidden` [sequences, positions, hidden_size]; the last step is this rank's part of the sum over all ranks."""
    steps = {"input_layernorm": norm(config, weights, "input_layernorm", hidden)}
    qkv = linear(steps["input_layernorm"], weights["attention.qkv.weight"], weights.get("attention.qkv.bias"))
    q, k, v = qkv.split([config.q_size, config.kv_size, config.kv_size], dim=-1)
    steps |= {"attention.qkv (q)": q, "attention.qkv (k)": k, "attention.qkv (v)": v}
    q, k, v = (part.unflatten(-1, (-1, config.head_size)) for part in (q, k, v))
    if config.qk_layernorm:
        q = rms_norm(q, weights["attention.q_layernorm.weight"], config.norm_epsilon)
        k = rms_norm(k, weights["attention.k_layernorm.weight"], config.norm_epsilon)
        steps |= {"attention.q_layernorm": q, "attention.k_layernorm": k}
    steps[CONTEXT] = _attend(config, q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), turn)
    steps["attention.dense"] = linear(steps[CONTEXT], weights["attention.dense.weight"])
    return steps


def _attend(config: ShardConfig, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, turn: Turn) -> torch.Tensor:
    """Causal; [sequences, heads, positions, head_size] in, the heads side by side out."""
    copies = q.shape[1] // k.shape[1]  # q heads of this rank that share a kv head of this rank
    q, k = rotate(q, turn), rotate(k, turn).repeat_interleave(copies, dim=1)
    scores = capped(q @ k.transpose(-1, -2) * config.score_scale, config.score_cap)
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    mixed = scores.masked_fill(future, -torch.inf).softmax(-1) @ v.repeat_interleave(copies, dim=1)
    context: torch.Tensor = mixed.transpose(1, 2).flatten(-2)
    return context


def capped(values: torch.Tensor, cap: float | None) -> torch.Tensor:
    return values if cap is None else (values / cap).tanh() * cap


def mlp(config: ShardConfig, weights: Weights, hidden: torch.Tensor, tp_rank: int) -> Steps:
    """The last step is this rank's part of the sum over all ranks."""
    name = "pre_feedforward_layernorm" if config.sandwich else "post_layernorm"
    normed = norm(config, weights, name, hidden)
    return {name: normed, **(mixture if config.moe else _block)(config, weights, normed, tp_rank)}


def _block(config: ShardConfig, weights: Weights, normed: torch.Tensor, _: int) -> Steps:
    fc = linear(normed, weights["mlp.fc.weight"], weights.get("mlp.fc.bias"))
    steps = {"mlp.fc": fc}
    if config.block == "plain":
        inner = activated(fc, config.activation)
    elif config.block == "gated":
        gate = linear(normed, weights["mlp.gate.weight"], weights.get("mlp.gate.bias"))
        steps["mlp.gate"] = gate
        inner = activated(fc, config.activation) * gate
    else:
        up, gate = fc.chunk(2, dim=-1)
        steps = {"mlp.fc (up)": up, "mlp.fc (gate)": gate}
        inner = activated(gate, config.activation) * up
    return {**steps, "mlp.proj": linear(inner, weights["mlp.proj.weight"])}


def activated(values: torch.Tensor, activation: Activation) -> torch.Tensor:
    if activation == "relu2":
        return relu(values).square()
    return silu(values) if activation == "silu" else gelu(values, approximate="tanh")
