"""Which rank does what: TensorRT-LLM's arithmetic of tensor, expert and pipeline parallelism (its `mapping.py`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parallelism:
    """`tp_size` ranks split each layer, `pp_size` groups of them split the layers; `gpus_per_node` are in a machine.

    Of the ranks that split a layer, `moe_ep_size` share out the experts of a mixture, and the others split each expert.
    """

    tp_size: int = 1
    pp_size: int = 1
    gpus_per_node: int = 8
    moe_ep_size: int = 1

    @property
    def world_size(self) -> int:
        return self.tp_size * self.pp_size

    @property
    def moe_tp_size(self) -> int:
        """Ranks that split one expert."""
        return self.tp_size // self.moe_ep_size

    def tp_rank(self, rank: int) -> int:
        return rank % self.tp_size

    def moe_tp_rank(self, rank: int) -> int:
        return self.tp_rank(rank) // self.moe_ep_size

    def experts(self, rank: int, count: int) -> range:
        """The experts of `count` that a rank has."""
        share = count // self.moe_ep_size
        first = self.tp_rank(rank) % self.moe_ep_size * share
        return range(first, first + share)

    def pp_rank(self, rank: int) -> int:
        return rank // self.tp_size

    def is_first_pp_rank(self, rank: int) -> bool:
        return self.pp_rank(rank) == 0

    def is_last_pp_rank(self, rank: int) -> bool:
        return self.pp_rank(rank) == self.pp_size - 1

    def layers(self, pp_rank: int, num_layers: int) -> range:
        """The layers of one pipeline rank. Those that are left over go to the first ranks, one each (`array_split`)."""
        share, rest = divmod(num_layers, self.pp_size)
        first = pp_rank * share + min(pp_rank, rest)
        return range(first, first + share + (pp_rank < rest))
