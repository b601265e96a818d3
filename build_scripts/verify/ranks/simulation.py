"""All ranks of a TensorRT-LLM checkpoint, one after the other in one process; what NCCL does is written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch.nn.functional import linear

from build_scripts.verify.ranks.rank import Steps, attention, capped, mlp, norm
from build_scripts.verify.ranks.rotary import turn_of
from build_scripts.verify.ranks.shards import Shards
from build_scripts.verify.ranks.tensors import EMBEDDING, FINAL_NORM, HEAD

AFTER_ATTENTION, AFTER_MLP = "attention.dense (with bias)", "mlp.proj (with bias)"
AFTER_NORMS = {"attention.dense": "post_layernorm", "mlp.proj": "post_feedforward_layernorm"}


class Simulation:
    """A forward pass, driven layer by layer; memory holds one layer.

    Attributes:
        hidden: rank -> hidden states [sequences, positions, hidden_size], of the ranks of the stage that is at work.
            Each has its own, as on GPUs, made with its own copies of the norms and biases.
    """

    def __init__(self, shards: Shards, tokens: torch.Tensor) -> None:
        self.shards = shards
        self.config = shards.config
        self.tokens = tokens
        self.hidden: dict[int, torch.Tensor] = {}

    def embed(self) -> None:
        """The first stage looks the tokens up: each of its ranks has the whole table, or a share of its rows."""
        ranks = range(self.config.mapping.tp_size)
        looked_up = [self._looked_up(rank) for rank in ranks]
        if self.config.use_parallel_embedding:
            looked_up = all_reduce(looked_up)
        self.hidden = {rank: looked_up[rank] * self.config.embedding_scale for rank in ranks}

    def _looked_up(self, rank: int) -> torch.Tensor:
        """Zeros for tokens whose rows another rank has."""
        rows, first = self.config.vocab_size, 0
        if self.config.use_parallel_embedding:
            rows = self.config.vocabulary_rows
            first = rank * rows
        unique, places = self.tokens.unique(return_inverse=True)
        here = [token - first if 0 <= token - first < rows else None for token in unique.tolist()]
        nothing = torch.zeros(1, self.config.hidden_size)
        found = [nothing if row is None else self.shards.read_rows(rank, EMBEDDING, row, row + 1) for row in here]
        return torch.cat(found)[places]

    def layer(self, index: int) -> list[Steps]:
        """Run layer `index` (of the whole model) on every rank of its stage; returns what each of them computed."""
        config, stage = self.config, self.config.stage_of(index)
        if index and stage != config.stage_of(index - 1):
            self.hidden = hand_over(self.hidden, config.mapping.tp_size)
        local = index - config.stages()[stage].start
        turn = turn_of(config, index, self.tokens.shape[1])
        weights = [self.shards.layer(rank, local) for rank in self.hidden]
        states = zip(weights, self.hidden.values(), strict=True)
        steps = [attention(config, mine, hidden, turn) for mine, hidden in states]
        self._add("attention.dense", steps, weights)
        for tp_rank, (mine, done, hidden) in enumerate(zip(weights, steps, self.hidden.values(), strict=True)):
            done.update({AFTER_ATTENTION: hidden, **mlp(config, mine, hidden, tp_rank)})
        self._add("mlp.proj", steps, weights)
        for done, hidden in zip(steps, self.hidden.values(), strict=True):
            done[AFTER_MLP] = hidden
        return steps

    def _add(self, name: str, steps: Sequence[Steps], weights: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """The sum of all ranks to the residual; a bias is whole on every rank and therefore added after the sum."""
        config = self.config
        sums = all_reduce([done[name] for done in steps])
        for rank, total, mine, done in zip(self.hidden, sums, weights, steps, strict=True):
            bias = mine.get(f"{name}.bias")
            whole = total if bias is None else total + bias
            if config.sandwich:
                whole = done[AFTER_NORMS[name]] = norm(config, mine, AFTER_NORMS[name], whole)
            self.hidden[rank] = self.hidden[rank] + whole * config.residual_multiplier

    def head(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The last stage: each rank's final norm and its share of the logits, with those of the padding."""
        for rank, hidden in self.hidden.items():
            weights = self.shards.read(rank, f"{FINAL_NORM}.weight", f"{FINAL_NORM}.bias", HEAD)
            normed = norm(self.config, weights, FINAL_NORM, hidden)
            logits = linear(normed, weights[HEAD]) * self.config.output_multiplier_scale
            yield normed, capped(logits, self.config.logits_cap)


def all_reduce(parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Every rank gets the sum of all parts."""
    total = torch.stack(list(parts)).sum(0)
    return [total for _ in parts]


def hand_over(hidden: Mapping[int, torch.Tensor], tp_size: int) -> dict[int, torch.Tensor]:
    """Each rank sends its hidden states to the rank in its place in the next stage."""
    return {rank + tp_size: states for rank, states in hidden.items()}
