"""What a GGUF file says of its model, under the names of HuggingFace's `config.json`: what most families have."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from build_scripts.weights.gguf.header import StoredTensor
from build_scripts.weights.gguf.metadata import MOST_LAYERS, Metadata
from build_scripts.weights.gguf.rope import rope_scaling
from triton_repo.contract.errors import BuildError

EMBEDDING: Final = "token_embd.weight"
OUTPUT: Final = "output.weight"
_MOST_EXPERTS: Final = 4096  # each becomes a tensor of its own; the largest models have some hundreds


@dataclass(frozen=True, slots=True)
class Model:
    """The header of a checkpoint, all its files taken together."""

    meta: Metadata
    tensors: Mapping[str, StoredTensor]

    def count(self, key: str, default: int | None = None) -> int:
        """Of this architecture's own keys; so below."""
        return self.meta.count(self.meta.own(key), default)

    def number(self, key: str, default: float | None = None) -> float:
        return self.meta.number(self.meta.own(key), default)

    def optional(self, key: str) -> int | None:
        """None where it is 0 or missing."""
        full = self.meta.own(key)
        return self.meta.count(full) if self.meta.values.get(full) else None

    def flag(self, key: str, default: bool) -> bool:
        return self.meta.flag(self.meta.own(key), default)

    @property
    def layers(self) -> int:
        """Without those that only predict further tokens, which come last."""
        all_layers, extra = self.count("block_count"), self.optional("nextn_predict_layers") or 0
        if all_layers > MOST_LAYERS:
            raise self.meta.error(self.meta.own("block_count"), f"must be ≤ {MOST_LAYERS}")
        if extra >= all_layers:
            raise self.meta.error(self.meta.own("nextn_predict_layers"), f"must be < block_count, {all_layers}")
        return all_layers - extra

    @property
    def dense_layers(self) -> int:
        """The first ones, without experts."""
        return self.optional("leading_dense_block_count") or 0

    def is_dense(self, layer: int) -> bool:
        """Whether it has an MLP in a model whose other layers have experts."""
        step = self.optional("interleave_moe_layer_step") or 1
        return not self.experts or layer < self.dense_layers or (layer + 1) % step != 0

    @property
    def heads(self) -> int:
        return self.count("attention.head_count")

    @property
    def kv_heads(self) -> int:
        return self.count("attention.head_count_kv", self.heads)

    @property
    def hidden(self) -> int:
        return self.count("embedding_length")

    @property
    def head_size(self) -> int:
        size = self.count("attention.key_length", max(1, self.hidden // self.heads))
        if self.count("attention.value_length", size) != size:
            raise self.meta.error(self.meta.own("attention.value_length"), f"must be {size}, the size of a key")
        return size

    @property
    def rotated(self) -> float:
        """The part of a head that is rotated, at most 1."""
        rotated = self.count("rope.dimension_count", self.head_size)
        if rotated > self.head_size:
            raise self.meta.error(
                self.meta.own("rope.dimension_count"), f"must be ≤ {self.head_size}, the size of a head"
            )
        return rotated / self.head_size

    @property
    def tied(self) -> bool:
        return OUTPUT not in self.tensors

    @property
    def vocab_size(self) -> int:
        """Raises: BuildError: there is no embedding."""
        embedding = self.tensors.get(EMBEDDING)
        if embedding is None or len(embedding.shape) != 2:
            raise BuildError(
                f"{self.meta.where}: no {EMBEDDING} of two dimensions among its {len(self.tensors)} weights"
            )
        return embedding.shape[0]

    @property
    def dtype(self) -> str:
        """The one that most values are of, once they are read."""
        values: Counter[str] = Counter()
        for tensor in self.tensors.values():
            values[tensor.type.dtype] += math.prod(tensor.shape)
        return values.most_common(1)[0][0] if values else "float32"

    @property
    def experts(self) -> int:
        """0 for a model without."""
        count = self.optional("expert_count") or 0
        if count > _MOST_EXPERTS:
            raise self.meta.error(self.meta.own("expert_count"), f"must be ≤ {_MOST_EXPERTS}")
        return count

    @property
    def window(self) -> int | None:
        """The tokens that attention looks back, None for all."""
        return self.optional("attention.sliding_window")

    def window_layers(self, period: int) -> list[str]:
        """HuggingFace's `layer_types`: as the file has it, or every `period`-th layer without a window."""
        return [self.window_layer(layer, period) for layer in range(self.layers)]

    def window_layer(self, layer: int, period: int) -> str:
        """That of one layer."""
        key = self.meta.own("attention.sliding_window_pattern")
        given = self.meta.values.get(key, period)
        if isinstance(given, list) and len(given) != self.layers:
            raise self.meta.error(key, f"must be a period, or an array of {self.layers}")
        windowed = given[layer] if isinstance(given, list) else (layer + 1) % self.meta.count(key, period) != 0
        return "sliding_attention" if windowed else "full_attention"

    def rows(self, part: str) -> int | None:
        """Of a part of the first layer that may have it, if it is there."""
        tensor = self.tensors.get(f"blk.{self.dense_layers}.{part}")
        return tensor.shape[-2] if tensor is not None and len(tensor.shape) > 1 else None

    def has(self, part: str) -> bool:
        """Whether a first layer has it: `attn_q.bias`."""
        return f"blk.0.{part}" in self.tensors

    def sizes(self) -> dict[str, Any]:
        """What every family calls alike."""
        return {
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden,
            "intermediate_size": self.count("feed_forward_length"),
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "max_position_embeddings": self.count("context_length"),
            "tie_word_embeddings": self.tied,
            "torch_dtype": self.dtype,
        }

    def decoder(self, partial: bool = False) -> dict[str, Any]:
        """Of a decoder with RMS norms, rotary attention (of a `partial` head or all of it) and an MLP, as Llama's.

        Raises:
            BuildError: a value is missing or not allowed; names its key.
        """
        if not partial and self.rotated != 1:
            raise self.meta.error(
                self.meta.own("rope.dimension_count"), f"must be {self.head_size}, the size of a head"
            )
        return {
            **self.sizes(),
            **self.rope(),
            "head_dim": self.head_size,
            "rms_norm_eps": self.number("attention.layer_norm_rms_epsilon"),
            "hidden_act": "silu",
        }

    def rope(self) -> dict[str, Any]:
        scaling = rope_scaling(self.meta, self.tensors, self.head_size, self.number("rope.freq_base", 10000.0))
        return {"rope_theta": self.number("rope.freq_base", 10000.0), "rope_scaling": scaling}
