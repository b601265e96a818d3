"""The one shape that every supported family has: a pre-norm decoder with rotary attention and a gated MLP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary embedding, half-split. `scaling` is HuggingFace's `rope_scaling` with its `rope_type`, None for none."""

    theta: float
    scaling: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Decoder:
    """The values of a `config.json`, checked. Sizes count values, not bytes.

    Attributes:
        architecture: HuggingFace's class name, `LlamaForCausalLM`.
        family: the table's name of it: llama, mistral, qwen2, qwen3.
        qkv_bias, dense_bias, mlp_bias: of q/k/v_proj, of o_proj, of gate/up/down_proj.
        qk_norm: RMS norm over each head of q and k before the rotary embedding.
        sliding_window: tokens that attention looks back, None for all.
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
    norm_epsilon: float
    rope: Rope
    hidden_act: str = "silu"
    qkv_bias: bool = False
    dense_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tied_embeddings: bool = False
    sliding_window: int | None = None

    @property
    def q_size(self) -> int:
        """Rows of q_proj."""
        return self.num_heads * self.head_size

    @property
    def kv_size(self) -> int:
        """Rows of k_proj, and of v_proj."""
        return self.num_kv_heads * self.head_size

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
        shapes["model.norm.weight"] = (hidden,)
        if not self.tied_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, hidden)
        return shapes

    def _layer_shapes(self) -> dict[str, tuple[int, ...]]:
        hidden, inner = self.hidden_size, self.intermediate_size
        linear = {
            "self_attn.q_proj": (self.q_size, hidden, self.qkv_bias),
            "self_attn.k_proj": (self.kv_size, hidden, self.qkv_bias),
            "self_attn.v_proj": (self.kv_size, hidden, self.qkv_bias),
            "self_attn.o_proj": (hidden, self.q_size, self.dense_bias),
            "mlp.gate_proj": (inner, hidden, self.mlp_bias),
            "mlp.up_proj": (inner, hidden, self.mlp_bias),
            "mlp.down_proj": (hidden, inner, self.mlp_bias),
        }
        shapes: dict[str, tuple[int, ...]] = {"input_layernorm.weight": (hidden,)}
        for name, (rows, columns, bias) in linear.items():
            shapes[f"{name}.weight"] = (rows, columns)
            shapes |= {f"{name}.bias": (rows,)} if bias else {}
        if self.qk_norm:
            shapes |= {f"self_attn.{which}_norm.weight": (self.head_size,) for which in ("q", "k")}
        return shapes | {"post_attention_layernorm.weight": (hidden,)}
