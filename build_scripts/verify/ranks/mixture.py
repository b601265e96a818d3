"""A mixture of experts on one rank: the experts that it has, or its part of them (layers/moe.py, its kernel in C++)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.functional import linear, silu

from build_scripts.verify.ranks.shard_config import ShardConfig
from build_scripts.verify.ranks.tensors import ROUTER

SHARED, SHARED_GATE = "mlp.shared_expert", "mlp.shared_expert_gate"
MIXTURE = "mlp.proj"  # the last step: this rank's part of the sum over all ranks


def mixture(
    config: ShardConfig, weights: Mapping[str, torch.Tensor], normed: torch.Tensor, tp_rank: int
) -> dict[str, torch.Tensor]:
    """The router's step is the probability of every expert, that of the shared gate how far it is open."""
    likely = linear(normed, weights[ROUTER]).softmax(-1)
    shares = _shares(config, likely)
    total = torch.zeros_like(normed)
    for local, expert in enumerate(config.experts_of(tp_rank)):
        chosen = shares[..., expert] > 0
        part = _gated(normed[chosen], weights["mlp.fc.weight"][local], weights["mlp.proj.weight"][local])
        total[chosen] += part * shares[..., expert][chosen].unsqueeze(-1)
    steps = {"mlp.router": likely}
    if config.shared_size:
        fc = linear(normed, weights[f"{SHARED}.fc.weight"])
        up, gate = fc.chunk(2, dim=-1)
        open_ = linear(normed, weights[f"{SHARED_GATE}.weight"]).sigmoid()
        proj = linear(silu(gate) * up, weights[f"{SHARED}.proj.weight"])
        steps |= {f"{SHARED}.fc (up)": up, f"{SHARED}.fc (gate)": gate, f"{SHARED}.proj": proj, SHARED_GATE: open_}
        total = total + open_ * proj
    return {**steps, MIXTURE: total}


def _shares(config: ShardConfig, likely: torch.Tensor) -> torch.Tensor:
    """How much each expert counts for each token; 0 for those that are not chosen."""
    if config.moe is None:
        return likely
    values, chosen = likely.topk(config.moe.top_k, dim=-1)
    if config.moe.normalization_mode == 1:
        values = values / values.sum(-1, keepdim=True)
    return torch.zeros_like(likely).scatter(-1, chosen, values)


def _gated(normed: torch.Tensor, fc: torch.Tensor, proj: torch.Tensor) -> torch.Tensor:
    """`fc` has the linear projection above the one that is activated."""
    up, gate = linear(normed, fc).chunk(2, dim=-1)
    return linear(silu(gate) * up, proj)
