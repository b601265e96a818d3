"""Which tensor of which rank first computes something else than transformers does, in one layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch.nn.functional import linear

from build_scripts.verify.rank import CONTEXT, Steps
from build_scripts.verify.reference import Part
from build_scripts.verify.result import Fault
from build_scripts.verify.shards import ShardConfig, Shards
from build_scripts.verify.simulation import AFTER_ATTENTION, AFTER_MLP

# Of hidden states, relative to their root mean square. Another order of a sum makes some 1e-6, a wrong row about 1.
NOISE: Final = 1e-4
_SHOWN: Final = 4  # rows
_CONFIG_KEYS: Final = "rotary_base or rotary_scaling of config.json"


def difference(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Of each value, relative to the root mean square of the vector that it stands in."""
    scale = expected.pow(2).mean(-1, keepdim=True).sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    return (found - expected).abs() / scale


def differs(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """A value that is not a number differs from everything."""
    return not bool((difference(found, expected) <= NOISE).all())


def locate(shards: Shards, layer: int, part: Part, ranks: Sequence[Steps]) -> Fault | None:
    """The first step of the layer that some rank gets wrong; its input was right.

    Args:
        part: what transformers computed in this layer.
        ranks: what each tensor-parallel rank computed, in the order in which it did.
    """
    expected = [dict(_expected(shards.config, part, tp_rank)) for tp_rank in range(len(ranks))]
    for step in ranks[0]:
        wrong = [number for number, done in enumerate(ranks) if differs(done[step], expected[number][step])]
        if wrong:
            return _fault(shards, layer, step, wrong, [(ranks[n][step], expected[n][step]) for n in wrong])
    return None


def _expected(config: ShardConfig, part: Part, tp_rank: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Step -> what it should give: transformers' own, cut to the share of the rank."""
    out, tp_size, size = part.outputs, config.mapping.tp_size, config.head_size
    q = slice(tp_rank * config.q_size, (tp_rank + 1) * config.q_size)
    first = tp_rank * config.num_key_value_heads // tp_size * size  # with fewer kv heads than ranks, several share one
    kv = slice(first, first + config.kv_size)
    share = config.intermediate_size // tp_size
    inner = slice(tp_rank * share, (tp_rank + 1) * share)
    yield "input_layernorm", out["input_layernorm"]
    yield "attention.qkv (q)", out["self_attn.q_proj"][..., q]
    yield "attention.qkv (k)", out["self_attn.k_proj"][..., kv]
    yield "attention.qkv (v)", out["self_attn.v_proj"][..., kv]
    if config.qk_layernorm:
        yield "attention.q_layernorm", out["self_attn.q_norm"][..., q.start // size : q.stop // size, :]
        yield "attention.k_layernorm", out["self_attn.k_norm"][..., kv.start // size : kv.stop // size, :]
    context, mixed = part.inputs["self_attn.o_proj"][..., q], part.inputs["mlp.down_proj"][..., inner]
    yield CONTEXT, context
    yield "attention.dense", linear(context, part.weights["self_attn.o_proj.weight"][:, q])
    yield AFTER_ATTENTION, part.inputs["post_attention_layernorm"]
    yield "post_layernorm", out["post_attention_layernorm"]
    yield "mlp.fc", out["mlp.gate_proj"][..., inner]
    yield "mlp.gate", out["mlp.up_proj"][..., inner]
    yield "mlp.proj", linear(mixed, part.weights["mlp.down_proj.weight"][:, inner])
    yield AFTER_MLP, out[""]


def _fault(
    shards: Shards,
    layer: int,
    step: str,
    wrong: Sequence[int],
    values: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> Fault:
    config = shards.config
    stage = config.stage_of(layer)
    local = layer - config.stages()[stage].start
    begins = {"attention.qkv (k)": config.q_size, "attention.qkv (v)": config.q_size + config.kv_size}
    rows = [] if step == CONTEXT else wrong_rows(values, begins.get(step, 0))
    tensor = f"transformer.layers.{local}.{step.replace(' (with bias)', '.bias')}"
    return Fault(
        place=f"layer {layer} (stage {stage}), {'mlp' if step.startswith(('mlp', 'post')) else 'attention'}",
        layer=layer,
        stage=stage,
        tp_ranks=tuple(wrong),
        files=("config.json",) if step == CONTEXT else shards.names(stage, wrong),
        tensor=_CONFIG_KEYS if step == CONTEXT else tensor,
        rows=tuple(rows[:_SHOWN]),
        num_rows=len(rows),
        difference=max(float(difference(found, right).max()) for found, right in values),
    )


def wrong_rows(values: Sequence[tuple[torch.Tensor, torch.Tensor]], begin: int = 0) -> list[int]:
    """Rows of a tensor, from row `begin` on, that made what is wrong in (found, expected) of any rank."""
    rows: set[int] = set()
    for found, expected in values:
        wrong = ~(difference(found, expected) <= NOISE)
        rows.update(int(row) + begin for row in wrong.flatten(0, -2).any(0).nonzero().flatten())
    return sorted(rows)
