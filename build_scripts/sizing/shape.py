"""A model as sums of parameters: what ranks share out, what each of them holds whole, and what a cache holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cache:
    """What one layer keeps of a sequence, in values over all ranks.

    Attributes:
        values_per_token: keys and values of all heads, or what an attention of low rank keeps in place of them.
        heads: kv heads, which tensor-parallel ranks share out; 0: every rank keeps all of it.
        state_values: of a recurrent layer, for a sequence of any length; ranks share them out.
    """

    values_per_token: int = 0
    heads: int = 0
    state_values: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """Parameters of one layer.

    Attributes:
        linear: of matrices that tensor-parallel ranks share out; quantized formats compress them.
        mixer: those of `linear` that mix tokens (attention); some formats leave them as they are.
        copied: of matrices that every rank holds whole.
        rest: norms, biases and tables, which stay as they are.
    """

    linear: int = 0
    copied: int = 0
    rest: int = 0
    mixer: int = 0
    cache: Cache = Cache()

    @property
    def parameters(self) -> int:
        return self.linear + self.copied + self.rest

    def __add__(self, other: Layer) -> Layer:
        """One layer of both parts; at most one of them has a cache."""
        cache = self.cache if self.cache != Cache() else other.cache
        sums = (self.linear + other.linear, self.copied + other.copied, self.rest + other.rest)
        return Layer(*sums, self.mixer + other.mixer, cache)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder. Sizes count values, not bytes.

    Attributes:
        num_heads, num_kv_heads, head_size: of its attention; 0 where it has none.
        low_rank: attention keeps a compressed vector in place of keys and values (MLA).
        intermediate_size: of a plain feed-forward block or of one expert.
        experts_per_token: experts that compute one token, 1 for a plain block.
        embedding: parameters of the embeddings; head: of the output matrix, 0 where it is the embedding again.
        final: of the last norm and of what else there is once.
        max_position_embeddings: None where the configuration has none.
    """

    architecture: str
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    low_rank: bool
    intermediate_size: int
    experts_per_token: int
    vocab_size: int
    layers: tuple[Layer, ...]
    embedding: int
    head: int
    final: int
    max_position_embeddings: int | None

    @property
    def parameters(self) -> int:
        return self.embedding + self.head + self.final + sum(layer.parameters for layer in self.layers)

    @property
    def kv_values_per_token(self) -> int:
        """Of all layers, as if none had a window."""
        return sum(layer.cache.values_per_token for layer in self.layers)
