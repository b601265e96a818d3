"""Which tensor of which rank first computes something else than transformers does, in one layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch.nn.functional import linear

from build_scripts.architectures.values import FeedForward, Layer, Matrix, Mixture
from build_scripts.verify.ranks.mixture import SHARED, SHARED_GATE
from build_scripts.verify.ranks.rank import CONTEXT, Steps
from build_scripts.verify.ranks.shard_config import ShardConfig
from build_scripts.verify.ranks.shards import Shards
from build_scripts.verify.ranks.simulation import AFTER_ATTENTION, AFTER_MLP
from build_scripts.verify.ranks.tensors import LAYER
from build_scripts.verify.reference import Part
from build_scripts.verify.result import Fault

# Of hidden states, relative to their root mean square. Another order of a sum makes some 1e-6, a wrong row about 1.
NOISE: Final = 1e-4
SHOWN: Final = 4  # rows
_CONFIG_KEYS: Final = "rotary_base or rotary_scaling of config.json"
_BLOCKS: Final = ("mlp", "post", "pre_feedforward")  # how the steps of a feed-forward block begin


def difference(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Of each value, relative to the root mean square of the vector that it stands in."""
    scale = expected.pow(2).mean(-1, keepdim=True).sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    return (found - expected).abs() / scale


def differs(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """A value that is not a number differs from everything."""
    return not bool((difference(found, expected) <= NOISE).all())


def locate(shards: Shards, names: Layer, layer: int, part: Part, ranks: Sequence[Steps]) -> Fault | None:
    """The first step of the layer that some rank gets wrong; its input was right.

    Args:
        names: HuggingFace's, of the modules of a layer.
        part: what transformers computed in this layer.
        ranks: what each tensor-parallel rank computed, in the order in which it did.
    """
    expected = [dict(_Expected(shards.config, names, part, tp_rank).steps()) for tp_rank in range(len(ranks))]
    for step in ranks[0]:
        there = [number for number in range(len(ranks)) if step in expected[number]]
        wrong = [number for number in there if differs(ranks[number][step], expected[number][step])]
        if wrong:
            return _fault(shards, layer, step, wrong, [(ranks[n][step], expected[n][step]) for n in wrong])
    return None


class _Expected:
    """What each step of one rank should give: transformers' own, cut to the share of the rank."""

    def __init__(self, config: ShardConfig, names: Layer, part: Part, tp_rank: int) -> None:
        self.config, self.names, self.part, self.tp_rank = config, names, part, tp_rank

    def steps(self) -> Iterator[tuple[str, torch.Tensor]]:
        config, names, out, size = self.config, self.names, self.part.outputs, self.config.head_size
        q = self._share(config.q_size)
        # With fewer kv heads than ranks, several share one.
        first = self.tp_rank * config.num_key_value_heads // config.mapping.tp_size * size
        kv = slice(first, first + config.kv_size)
        yield "input_layernorm", out[names.norms[0]]
        for matrix, rows, step in ((names.q, q, "q"), (names.k, kv, "k"), (names.v, kv, "v")):
            yield f"attention.qkv ({step})", self._rows(matrix, rows)
        for name, matrix, rows, step in zip(names.head_norms, (names.q, names.k), (q, kv), ("q", "k"), strict=False):
            normed = self._by_position(name, out[matrix.name])
            yield f"attention.{step}_layernorm", normed[..., rows.start // size : rows.stop // size, :]
        yield from self._columns(names.o, q, CONTEXT, "attention.dense")
        yield from self._norms()
        if isinstance(names.block, Mixture):
            yield from self._mixture(names.block)
        else:
            yield from self._block(names.block)
        yield AFTER_MLP, out[""]

    def _by_position(self, name: str, heads: torch.Tensor) -> torch.Tensor:
        """[…, positions, heads, head_size] of a norm of `heads`; some models have heads before positions there."""
        by_position = torch.equal(self.part.inputs[name].reshape(heads.shape), heads)
        return self.part.outputs[name] if by_position else self.part.outputs[name].transpose(-3, -2)

    def _norms(self) -> Iterator[tuple[str, torch.Tensor]]:
        _, post, *around = self.names.norms
        out, before_mlp = self.part.outputs, self.part.inputs[around[0] if around else post]
        yield AFTER_ATTENTION, before_mlp
        yield "post_layernorm", out[post]
        for name, step in zip(around, ("pre_feedforward_layernorm", "post_feedforward_layernorm"), strict=False):
            yield step, out[name]

    def _block(self, block: FeedForward) -> Iterator[tuple[str, torch.Tensor]]:
        inner = self._share(self.config.inner_size)
        if block.gate is None:
            yield "mlp.fc", self._rows(block.up, inner)
        else:
            names = ("mlp.fc", "mlp.gate") if self.config.block == "gated" else ("mlp.fc (gate)", "mlp.fc (up)")
            yield names[0], self._rows(block.gate, inner)
            yield names[1], self._rows(block.up, inner)
        yield from self._columns(block.down, inner, None, "mlp.proj")

    def _mixture(self, mixture: Mixture) -> Iterator[tuple[str, torch.Tensor]]:
        """Of the experts what is compared are the weights (`experts`): no prompt reaches all of them."""
        like = self.part.outputs[""].shape[:-1]
        yield "mlp.router", self.part.outputs["mlp.gate"].reshape(*like, -1)
        shared, gate = mixture.shared, mixture.shared_gate
        if shared is None or shared.gate is None or gate is None:
            return
        rows = self._share(self.config.shared_size)
        yield f"{SHARED}.fc (up)", self._rows(shared.up, rows).reshape(*like, -1)
        yield f"{SHARED}.fc (gate)", self._rows(shared.gate, rows).reshape(*like, -1)
        yield SHARED_GATE, self.part.outputs[gate.name].sigmoid().reshape(*like, -1)
        for step, expected in self._columns(shared.down, rows, None, f"{SHARED}.proj"):
            yield step, expected.reshape(*like, -1)

    def _share(self, size: int) -> slice:
        return slice(self.tp_rank * size, (self.tp_rank + 1) * size)

    def _rows(self, matrix: Matrix, rows: slice) -> torch.Tensor:
        return self.part.outputs[matrix.name][..., matrix.first + rows.start : matrix.first + rows.stop]

    def _columns(
        self, matrix: Matrix, columns: slice, source: str | None, step: str
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """What a share of the columns makes of the same share of what goes in, without the bias."""
        given = self.part.inputs[matrix.name][..., columns]
        if source is not None:
            yield source, given
        yield step, linear(given, self.part.weights[f"{matrix.name}.weight"][:, columns])


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
    begins = {
        "attention.qkv (k)": config.q_size,
        "attention.qkv (v)": config.q_size + config.kv_size,
        "mlp.fc (gate)": config.inner_size,
        f"{SHARED}.fc (gate)": config.shared_size,
    }
    rows = [] if step in {CONTEXT, "mlp.router"} else wrong_rows(values, begins.get(step, 0))
    tensor = f"{LAYER}.{local}.{step.replace(' (with bias)', '.bias')}"
    return Fault(
        place=f"layer {layer} (stage {stage}), {'mlp' if step.startswith(_BLOCKS) else 'attention'}",
        layer=layer,
        stage=stage,
        tp_ranks=tuple(wrong),
        files=("config.json",) if step == CONTEXT else shards.names(stage, wrong),
        tensor=_CONFIG_KEYS if step == CONTEXT else tensor,
        rows=tuple(rows[:SHOWN]),
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
