"""What an architecture is: llama.cpp's names of a model's parts, HuggingFace's, and what differs between the layouts.

A new one is an entry of a table in this folder, and a function for what its `config.json` has beyond the common values.
Where llama.cpp keeps no value, it is the one that llama.cpp itself computes with (src/models/), named beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from build_scripts.weights.gguf.header import StoredTensor
from build_scripts.weights.gguf.model import Model
from build_scripts.weights.view import LazyTensor

Layout = Callable[[LazyTensor, Model], LazyTensor]

TOP: Final = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
ATTENTION: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
GATED: Final = {
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
HEAD_NORMS: Final = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
LLAMA: Final = {**ATTENTION, **GATED}
UNGATED: Final = {part: name for part, name in LLAMA.items() if part != "ffn_gate"}
# Where a layer has many of a part, {} stands for the number of the expert.
EXPERTS: Final = {
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.{}.gate_proj",
    "ffn_up_exps": "mlp.experts.{}.up_proj",
    "ffn_down_exps": "mlp.experts.{}.down_proj",
}
NUMBERED_EXPERTS: Final = {
    "ffn_gate_inp": "block_sparse_moe.gate",
    "ffn_gate_exps": "block_sparse_moe.experts.{}.w1",
    "ffn_down_exps": "block_sparse_moe.experts.{}.w2",
    "ffn_up_exps": "block_sparse_moe.experts.{}.w3",
}


def shared_expert(name: str) -> dict[str, str]:
    """The parts of the expert of every token, which HuggingFace calls `name`."""
    return {f"ffn_{part}_shexp": f"{name}.{part}_proj" for part in ("gate", "up", "down")}


@dataclass(frozen=True, slots=True)
class Joined:
    """A tensor of HuggingFace that llama.cpp keeps in several: `parts`, of which `join` makes the one of that name."""

    parts: tuple[str, ...]
    join: Callable[[str, Sequence[StoredTensor], Model], LazyTensor]


@dataclass(frozen=True, slots=True)
class Family:
    """One of llama.cpp's architectures. Parts are named without `.weight` and `.bias`.

    Attributes:
        architecture, model_type: HuggingFace's class, and its name of the family.
        config: the values of `config.json`.
        layer: the parts of a layer, llama.cpp's name -> HuggingFace's; one that is named with `.weight` or `.bias`
            stands for that alone, and for all of HuggingFace's name.
        top: the other parts, likewise.
        layers: HuggingFace's prefix of the layers.
        layouts: parts that lie in another order or shape, and how.
        values: HuggingFace's name of a layer's tensor of one value -> the key of the list that has it, its shape.
        joined: HuggingFace's name of a layer's tensor -> what it is made of, where the file has not the whole of it;
            the first whose parts are there.
        kind: layers of one kind have the same parts.
    """

    architecture: str
    model_type: str
    config: Callable[[Model], dict[str, Any]]
    layer: Mapping[str, str]
    top: Mapping[str, str] = field(default_factory=lambda: TOP)
    layers: str = "model.layers"
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    joined: Mapping[str, tuple[Joined, ...]] = field(default_factory=dict)
    kind: Callable[[Model, int], object] = Model.is_dense
    values: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)


# What a table holds: a family, or how the file says which of several it is.
Named = Family | Callable[[Model], Family]
