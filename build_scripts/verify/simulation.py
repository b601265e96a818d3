"""All ranks of a TensorRT-LLM checkpoint, one after the other in one process; what NCCL does is written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch.nn.functional import linear

from build_scripts.verify.rank import Steps, attention, mlp, rms_norm
from build_scripts.verify.rotary import angles
from build_scripts.verify.shards import EMBEDDING, FINAL_NORM, HEAD, Shards

AFTER_ATTENTION, AFTER_MLP = "attention.dense (with bias)", "mlp.proj (with bias)"


class Simulation:
    """A forward pass, driven layer by layer; memory holds one layer.

    Attributes:
        hidden: rank -> hidden states [sequences, positions, hidden_size], of the ranks of the stage that is at work.
            Each has its own, as on GPUs, made with its own copies of the norms and biases.
    """

    def __init__(self, shards: Shards, tokens: torch.Tensor) -> None:
        self.shards = shards
        self.config = shards.config
        self.turn = angles(shards.config, tokens.shape[1])
        self.tokens = tokens
        self.hidden: dict[int, torch.Tensor] = {}

    def embed(self) -> None:
        """The first stage looks the tokens up; each of its ranks has the whole table."""
        self.hidden = {rank: self._looked_up(rank) for rank in range(self.config.mapping.tp_size)}

    def _looked_up(self, rank: int) -> torch.Tensor:
        unique, places = self.tokens.unique(return_inverse=True)
        rows = [self.shards.read_rows(rank, EMBEDDING, token, token + 1) for token in unique.tolist()]
        return torch.cat(rows)[places]

    def layer(self, index: int) -> list[Steps]:
        """Run layer `index` (of the whole model) on every rank of its stage; returns what each of them computed."""
        stage = self.config.stage_of(index)
        if index and stage != self.config.stage_of(index - 1):
            self.hidden = hand_over(self.hidden, self.config.mapping.tp_size)
        local = index - self.config.stages()[stage].start
        weights = [self.shards.layer(rank, local) for rank in self.hidden]
        states = zip(weights, self.hidden.values(), strict=True)
        steps = [attention(self.config, mine, hidden, self.turn) for mine, hidden in states]
        self._add(all_reduce([done["attention.dense"] for done in steps]), weights, "attention.dense.bias")
        for mine, done, hidden in zip(weights, steps, self.hidden.values(), strict=True):
            done.update({AFTER_ATTENTION: hidden, **mlp(self.config, mine, hidden)})
        self._add(all_reduce([done["mlp.proj"] for done in steps]), weights, "mlp.proj.bias")
        for done, hidden in zip(steps, self.hidden.values(), strict=True):
            done[AFTER_MLP] = hidden
        return steps

    def _add(self, sums: Sequence[torch.Tensor], weights: Sequence[Mapping[str, torch.Tensor]], bias: str) -> None:
        """To the residual; a bias is whole on every rank and therefore added after the sum."""
        for rank, total, mine in zip(self.hidden, sums, weights, strict=True):
            self.hidden[rank] = self.hidden[rank] + (total + mine[bias] if bias in mine else total)

    def head(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The last stage: each rank's final norm and its share of the logits, with those of the padding."""
        for rank, hidden in self.hidden.items():
            normed = rms_norm(hidden, self.shards.read(rank, FINAL_NORM), self.config.norm_epsilon)
            yield normed, linear(normed, self.shards.read(rank, HEAD))


def all_reduce(parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Every rank gets the sum of all parts."""
    total = torch.stack(list(parts)).sum(0)
    return [total for _ in parts]


def hand_over(hidden: Mapping[int, torch.Tensor], tp_size: int) -> dict[int, torch.Tensor]:
    """Each rank sends its hidden states to the rank in its place in the next stage."""
    return {rank + tp_size: states for rank, states in hidden.items()}
