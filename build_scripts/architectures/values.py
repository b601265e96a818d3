"""What a decoder is made of: values that a `config.json` gives, and the matrices of a layer in a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

LONGROPE: Final = "longrope"  # a `rope_type`: a factor for each frequency, one set for short sequences, one for long


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary embedding, half-split.

    Attributes:
        scaling: HuggingFace's `rope_scaling` with its `rope_type`, None for none.
        fraction: of the values of a head, the first ones, which are turned.
        local_theta: of the layers that look back over a window, where they have one of their own.
    """

    theta: float
    scaling: Mapping[str, Any] | None = None
    fraction: float = 1.0
    local_theta: float | None = None


@dataclass(frozen=True, slots=True)
class Norms:
    """Of the hidden states: RMS norms, or layer norms with biases.

    Attributes:
        offset: added to the weights of a checkpoint before they multiply: 1 where it holds w for a factor of 1 + w.
        sandwich: attention and the feed-forward block have a norm behind them too, before the residual is added.
    """

    epsilon: float
    kind: Literal["rms", "layer"] = "rms"
    offset: float = 0.0
    sandwich: bool = False


@dataclass(frozen=True, slots=True)
class Scales:
    """Constant factors, and bounds that values approach and never pass: cap × tanh(value / cap); None is no bound.

    Attributes:
        embedding: of what the embedding gives; residual: of what attention and the feed-forward block give, before it
            is added; logits: of the logits.
        attention: of the scores, q · k; None is 1 / √head_size.
        attention_cap: of the scores; logits_cap: of the logits.
    """

    embedding: float = 1.0
    attention: float | None = None
    residual: float = 1.0
    logits: float = 1.0
    attention_cap: float | None = None
    logits_cap: float | None = None


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts in place of the feed-forward block.

    Attributes:
        count, per_token: of all, and of those that compute one token.
        size: rows of an expert's gate and up projections.
        renormalize: the weights of the chosen experts are made to sum to 1.
        shared_size: of one more expert that computes every token, gated by itself; 0 is none.
        block, gate, up, down: how HuggingFace calls the mixture and the projections of an expert in it.
    """

    count: int
    per_token: int
    size: int
    renormalize: bool
    shared_size: int = 0
    block: str = "mlp"
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows `first` … `first + rows` of a weight in a layer of a checkpoint, [rows, columns]; a bias has the same rows.

    `stored_rows` are those of the whole weight, which holds other matrices too where they are fused; 0 is `rows`.
    """

    name: str
    rows: int
    columns: int
    bias: bool = False
    first: int = 0
    stored_rows: int = 0


@dataclass(frozen=True, slots=True)
class FeedForward:
    """down(act(gate) × up), or down(act(up)) without a gate."""

    gate: Matrix | None
    up: Matrix
    down: Matrix

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        return (self.up, self.down) if self.gate is None else (self.gate, self.up, self.down)


@dataclass(frozen=True, slots=True)
class Mixture:
    """The router, the experts in its order, and the shared expert with its gate, where there is one."""

    router: Matrix
    experts: tuple[FeedForward, ...]
    shared: FeedForward | None = None
    shared_gate: Matrix | None = None

    @property
    def matrices(self) -> Iterator[Matrix]:
        yield self.router
        for expert in self.experts:
            yield from expert.matrices
        if self.shared is not None and self.shared_gate is not None:
            yield from (*self.shared.matrices, self.shared_gate)


@dataclass(frozen=True, slots=True)
class Layer:
    """Where a checkpoint holds the weights of a layer, by HuggingFace's names without the layer's prefix.

    Attributes:
        norms: of the hidden states, in the order of the forward pass.
        head_norms: over each head of q and of k.
        block: the feed-forward block, or the mixture in its place.
    """

    q: Matrix
    k: Matrix
    v: Matrix
    o: Matrix
    norms: tuple[str, ...]
    head_norms: tuple[str, ...]
    block: FeedForward | Mixture

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        return (self.q, self.k, self.v, self.o, *self.block.matrices)
