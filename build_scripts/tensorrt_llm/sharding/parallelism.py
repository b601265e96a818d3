"""Which rank does what: TensorRT-LLM's arithmetic of tensor and pipeline parallelism (its `mapping.py`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parallelism:
    """`tp_size` ranks split each layer, `pp_size` groups of them split the layers; `gpus_per_node` are in a machine."""

    tp_size: int = 1
    pp_size: int = 1
    gpus_per_node: int = 8

    @property
    def world_size(self) -> int:
        return self.tp_size * self.pp_size

    def tp_rank(self, rank: int) -> int:
        return rank % self.tp_size

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
