"""The shape that every supported family has: a pre-norm decoder with rotary attention and a feed-forward block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from build_scripts.architectures.values import (
    LONGROPE,
    Experts,
    FeedForward,
    Layer,
    Matrix,
    Mixture,
    Norms,
    Rope,
    Scales,
)

_NO_SCALES: Final = Scales()
ATTENTION_NORM, MLP_NORM = "input_layernorm", "post_attention_layernorm"
BEFORE_MLP, AFTER_MLP = "pre_feedforward_layernorm", "post_feedforward_layernorm"  # of a sandwich


@dataclass(frozen=True, slots=True)
class Decoder:
    """The values of a `config.json`, checked. Sizes count values, not bytes.

    Attributes:
        architecture: HuggingFace's class name, `LlamaForCausalLM`.
        family: HuggingFace's `model_type`: llama, mistral, qwen2 …
        hidden_act: `silu`, `gelu` (its tanh form) or `relu2` (the square of ReLU).
        gated: the feed-forward block multiplies two projections.
        fused: the checkpoint holds q, k and v in one weight, and gate and up in one.
        qkv_bias, dense_bias, mlp_bias: of q/k/v_proj, of o_proj, of gate/up/down_proj.
        qk_norm: RMS norm over each head of q and k before the rotary embedding.
        sliding_window: tokens that attention looks back, None for all.
        full_every: every so manieth layer looks back over all tokens all the same; 0: none does.
        experts: of every layer, in place of its feed-forward block.
    """

    architecture: str
    family: str
    dtype: str
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    vocab_size: int
    max_position_embeddings: int
    norms: Norms
    rope: Rope
    hidden_act: Literal["silu", "gelu", "relu2"] = "silu"
    gated: bool = True
    fused: bool = False
    qkv_bias: bool = False
    dense_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tied_embeddings: bool = False
    sliding_window: int | None = None
    full_every: int = 0
    scales: Scales = _NO_SCALES
    experts: Experts | None = None

    @property
    def q_size(self) -> int:
        """Rows of q_proj."""
        return self.num_heads * self.head_size

    @property
    def kv_size(self) -> int:
        """Rows of k_proj, and of v_proj."""
        return self.num_kv_heads * self.head_size

    @property
    def turned_size(self) -> int:
        """Values of a head that the rotary embedding turns, the first ones."""
        return int(self.head_size * self.rope.fraction)

    @property
    def exact_length(self) -> tuple[int, str] | None:
        """Tokens up to which a compiled engine computes what the model does, and the key that says so; None: all.

        Within a window every layer looks back over all tokens; and see `phi3` for the factors of a rotary embedding.
        """
        limits = [] if self.sliding_window is None else [(self.sliding_window, "sliding_window")]
        original = (self.rope.scaling or {}).get("original_max_position_embeddings")
        if original is not None and (self.rope.scaling or {}).get("rope_type") == LONGROPE:
            limits.append((original, "original_max_position_embeddings"))
        return min(limits, default=None)

    @property
    def active_size(self) -> int:
        """Rows of the up projections that compute one token."""
        if self.experts is None:
            return self.intermediate_size
        return self.experts.per_token * self.experts.size + self.experts.shared_size

    @property
    def parameters(self) -> int:
        """Of a tied head there are none."""
        return sum(math.prod(shape) for shape in self.weight_shapes().values())

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """HuggingFace's name -> shape of every weight, in the order of the forward pass."""
        hidden = self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, hidden)}
        layer = self._layer_shapes()
        for index in range(self.num_layers):
            shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
        shapes |= self._norm_shapes("model.norm")
        if not self.tied_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, hidden)
        return shapes

    def layer(self) -> Layer:
        """Where a checkpoint holds the weights of a layer; all layers are alike."""
        q, kv, hidden = self.q_size, self.kv_size, self.hidden_size
        names = [f"self_attn.{name}_proj" for name in (("qkv",) * 3 if self.fused else ("q", "k", "v"))]
        first = (0, q, q + kv) if self.fused else (0, 0, 0)
        stored = q + 2 * kv if self.fused else 0
        rows = zip(names, (q, kv, kv), first, strict=True)
        each = [Matrix(name, count, hidden, self.qkv_bias, start, stored) for name, count, start in rows]
        dense = Matrix("self_attn.o_proj", hidden, q, self.dense_bias)
        block = self._feed_forward() if self.experts is None else self._mixture(self.experts)
        sandwich = (BEFORE_MLP, AFTER_MLP) if self.norms.sandwich else ()
        head_norms = ("self_attn.q_norm", "self_attn.k_norm") if self.qk_norm else ()
        return Layer(each[0], each[1], each[2], dense, (ATTENTION_NORM, MLP_NORM, *sandwich), head_norms, block)

    def _feed_forward(self) -> FeedForward:
        inner, hidden, bias = self.intermediate_size, self.hidden_size, self.mlp_bias
        down = Matrix("mlp.down_proj", hidden, inner, bias)
        if self.fused:
            name, stored = "mlp.gate_up_proj", 2 * inner
            gate = Matrix(name, inner, hidden, bias, 0, stored)
            return FeedForward(gate, Matrix(name, inner, hidden, bias, inner, stored), down)
        gated = Matrix("mlp.gate_proj", inner, hidden, bias) if self.gated else None
        return FeedForward(gated, Matrix("mlp.up_proj", inner, hidden, bias), down)

    def _mixture(self, experts: Experts) -> Mixture:
        hidden, block = self.hidden_size, experts.block

        def expert(prefix: str, size: int, gate: str, up: str, down: str) -> FeedForward:
            first, second = (Matrix(f"{prefix}.{name}", size, hidden) for name in (gate, up))
            return FeedForward(first, second, Matrix(f"{prefix}.{down}", hidden, size))

        names = (experts.gate, experts.up, experts.down)
        each = [expert(f"{block}.experts.{number}", experts.size, *names) for number in range(experts.count)]
        router = Matrix(f"{block}.gate", experts.count, hidden)
        if not experts.shared_size:
            return Mixture(router, tuple(each))
        shared = expert(f"{block}.shared_expert", experts.shared_size, *names)
        return Mixture(router, tuple(each), shared, Matrix(f"{block}.shared_expert_gate", 1, hidden))

    def _norm_shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        kinds = ("weight", "bias") if self.norms.kind == "layer" else ("weight",)
        return {f"{name}.{kind}": (self.hidden_size,) for kind in kinds}

    def _layer_shapes(self) -> dict[str, tuple[int, ...]]:
        layer = self.layer()
        shapes = self._norm_shapes(layer.norms[0])
        for matrix in layer.matrices:
            rows = matrix.stored_rows or matrix.rows
            shapes[f"{matrix.name}.weight"] = (rows, matrix.columns)
            shapes |= {f"{matrix.name}.bias": (rows,)} if matrix.bias else {}
        shapes |= {f"{name}.weight": (self.head_size,) for name in layer.head_norms}
        for name in layer.norms[1:]:
            shapes |= self._norm_shapes(name)
        return shapes
