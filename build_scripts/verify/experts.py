"""The weights of a mixture's experts, held against transformers' one by one: no prompt reaches all of them."""

from __future__ import annotations

import torch

from build_scripts.verify.locate import SHOWN
from build_scripts.verify.ranks.shards import Shards
from build_scripts.verify.ranks.tensors import LAYER
from build_scripts.verify.reference import DOWN, GATE_UP, Part
from build_scripts.verify.result import Fault


def wrong_expert(shards: Shards, layer: int, part: Part) -> Fault | None:
    """The first expert of a layer, on the first rank that has it, whose weights are not the checkpoint's."""
    config = shards.config
    stage = config.stage_of(layer)
    local = layer - config.stages()[stage].start
    for tp_rank in range(config.mapping.tp_size):
        rank, rows = stage * config.mapping.tp_size + tp_rank, config.expert_rows_of(tp_rank)
        weights = shards.layer(rank, local)
        for number, expert in enumerate(config.experts_of(tp_rank)):
            gate, up = part.weights[GATE_UP][expert].chunk(2)
            wanted = {"fc": torch.cat([up[rows], gate[rows]]), "proj": part.weights[DOWN][expert][:, rows]}
            for name, right in wanted.items():
                bad = (weights[f"mlp.{name}.weight"][number] != right).any(-1).nonzero().flatten().tolist()
                if bad:
                    return Fault(
                        place=f"layer {layer} (stage {stage}), expert {expert}",
                        layer=layer,
                        stage=stage,
                        tp_ranks=(tp_rank,),
                        files=shards.names(stage, [tp_rank]),
                        tensor=f"{LAYER}.{local}.mlp.{name}.weight[{number}]",
                        rows=tuple(bad[:SHOWN]),
                        num_rows=len(bad),
                    )
    return None
