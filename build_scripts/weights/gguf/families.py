"""The architectures: llama.cpp's names of a model's parts, HuggingFace's, and what differs between the two layouts.

A new one is an entry of FAMILIES, and a function for what its `config.json` has beyond the common values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from build_scripts.weights.gguf import configs
from build_scripts.weights.gguf.model import Model

_TOP: Final = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_ATTENTION: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_GATED: Final = {
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_HEAD_NORMS: Final = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_LLAMA: Final = {**_ATTENTION, **_GATED}


@dataclass(frozen=True, slots=True)
class Family:
    """One of llama.cpp's architectures. Parts are named without `.weight` and `.bias`.

    Attributes:
        architecture, model_type: HuggingFace's class, and its name of the family.
        config: the values of `config.json`.
        layer: the parts of a layer, llama.cpp's name -> HuggingFace's.
        top: the other parts, likewise.
        layers: HuggingFace's prefix of the layers.
        half_split: parts whose rows llama.cpp stores in its own order of rotation.
        norms_less_one: whether llama.cpp stores 1 + weight of every norm.
        transposed: parts that HuggingFace stores as [in, out].
    """

    architecture: str
    model_type: str
    config: Callable[[Model], dict[str, Any]]
    layer: Mapping[str, str]
    top: Mapping[str, str] = field(default_factory=lambda: _TOP)
    layers: str = "model.layers"
    half_split: tuple[str, ...] = ()
    norms_less_one: bool = False
    transposed: tuple[str, ...] = ()


_ROTATED: Final = ("attn_q", "attn_k")

FAMILIES: Final[Mapping[str, Family]] = {
    "llama": Family("LlamaForCausalLM", "llama", configs.llama, _LLAMA, half_split=_ROTATED),
    "qwen2": Family("Qwen2ForCausalLM", "qwen2", configs.qwen2, _LLAMA),
    "qwen3": Family("Qwen3ForCausalLM", "qwen3", configs.qwen3, {**_LLAMA, **_HEAD_NORMS}),
}
