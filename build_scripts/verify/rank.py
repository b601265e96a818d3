"""What one tensor-parallel rank computes in one layer, up to where it must ask the others.

Everything that is computed on the way is returned, under the name of the shard's tensor that made it: so that the first
thing that is wrong can be named.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.functional import linear, silu

from build_scripts.verify.rotary import rotate
from build_scripts.verify.shards import ShardConfig

CONTEXT = "attention"  # the attention itself, which has no tensor of its own

Steps = dict[str, torch.Tensor]


def rms_norm(hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + epsilon) * weight


def attention(
    config: ShardConfig, weights: Mapping[str, torch.Tensor], hidden: torch.Tensor, turn: torch.Tensor
) -> Steps:
    """Of `hidden` [sequences, positions, hidden_size]; the last step is this rank's part of the sum over all ranks."""
    steps = {"input_layernorm": rms_norm(hidden, weights["input_layernorm.weight"], config.norm_epsilon)}
    qkv = linear(steps["input_layernorm"], weights["attention.qkv.weight"], weights.get("attention.qkv.bias"))
    q, k, v = qkv.split([config.q_size, config.kv_size, config.kv_size], dim=-1)
    steps |= {"attention.qkv (q)": q, "attention.qkv (k)": k, "attention.qkv (v)": v}
    q, k, v = (part.unflatten(-1, (-1, config.head_size)) for part in (q, k, v))
    if config.qk_layernorm:
        q = rms_norm(q, weights["attention.q_layernorm.weight"], config.norm_epsilon)
        k = rms_norm(k, weights["attention.k_layernorm.weight"], config.norm_epsilon)
        steps |= {"attention.q_layernorm": q, "attention.k_layernorm": k}
    steps[CONTEXT] = _attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), turn)
    steps["attention.dense"] = linear(steps[CONTEXT], weights["attention.dense.weight"])
    return steps


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Causal; [sequences, heads, positions, head_size] in, the heads side by side out."""
    copies = q.shape[1] // k.shape[1]  # q heads of this rank that share a kv head of this rank
    q, k = rotate(q, turn), rotate(k, turn).repeat_interleave(copies, dim=1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    mixed = scores.masked_fill(future, -torch.inf).softmax(-1) @ v.repeat_interleave(copies, dim=1)
    context: torch.Tensor = mixed.transpose(1, 2).flatten(-2)
    return context


def mlp(config: ShardConfig, weights: Mapping[str, torch.Tensor], hidden: torch.Tensor) -> Steps:
    """The last step is this rank's part of the sum over all ranks."""
    normed = rms_norm(hidden, weights["post_layernorm.weight"], config.norm_epsilon)
    fc = linear(normed, weights["mlp.fc.weight"], weights.get("mlp.fc.bias"))
    gate = linear(normed, weights["mlp.gate.weight"], weights.get("mlp.gate.bias"))
    proj = linear(silu(fc) * gate, weights["mlp.proj.weight"])
    return {"post_layernorm": normed, "mlp.fc": fc, "mlp.gate": gate, "mlp.proj": proj}
