"""What a `config.json` does not say of its family: biases, norms, and whether a feed-forward block is gated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from build_scripts.sizing.numbers import Numbers

# True, False, or the keys of config.json that say so.
Said = bool | tuple[str, ...]
QkNorm = Literal["none", "head", "all"]


@dataclass(frozen=True, slots=True)
class Traits:
    """A family, as it differs from Llama.

    Attributes:
        qkv, dense, mlp: whether q, k and v, the output projection, and the feed-forward block have biases.
        norms: of a layer, each of hidden_size; norm_bias: each with a bias.
        gated: the feed-forward block multiplies two projections.
        qk: norm of q and k, over each head or over all; or the key that says that there is one over each head.
        sinks: a value for each head beside the scores; output_gate: of attention, as wide as q.
        expert_bias, router_bias, shared_gate: of a mixture.
        positions: a table of learned positions, with so many rows more than there are positions.
        tied: what an absent `tie_word_embeddings` means; head_bias, embedding_norm: there is one.
    """

    qkv: Said = False
    dense: Said = False
    mlp: Said = False
    norms: int = 2
    norm_bias: bool = False
    gated: bool = True
    qk: QkNorm | tuple[str, ...] = "none"
    sinks: bool = False
    output_gate: bool = False
    expert_bias: bool = False
    router_bias: bool = False
    shared_gate: bool = False
    positions: int | None = None
    tied: bool = False
    head_bias: bool = False
    embedding_norm: bool = False
    defaults: Mapping[str, int] = field(default_factory=dict)

    def qkv_bias(self, numbers: Numbers) -> bool:
        return _holds(self.qkv, numbers)

    def dense_bias(self, numbers: Numbers) -> bool:
        return _holds(self.dense, numbers)

    def mlp_bias(self, numbers: Numbers) -> bool:
        return _holds(self.mlp, numbers)

    def qk_norm(self, numbers: Numbers) -> QkNorm:
        if isinstance(self.qk, tuple):
            return "head" if numbers.flag(*self.qk) else "none"
        return self.qk


def _holds(said: Said, numbers: Numbers) -> bool:
    return numbers.flag(*said) if isinstance(said, tuple) else said


_LLAMA: Final = Traits(qkv=("attention_bias",), dense=("attention_bias",), mlp=("mlp_bias",))
_PLAIN: Final = Traits()
_QWEN3: Final = Traits(qkv=("attention_bias",), dense=("attention_bias",), qk="head")
_QWEN_DELTA: Final = Traits(qkv=("attention_bias",), qk="head", output_gate=True, shared_gate=True)
_GPT: Final = Traits(True, True, True, norm_bias=True, gated=False)
_GEMMA: Final = Traits(qkv=("attention_bias",), dense=("attention_bias",), norms=4, tied=True)
_GLM: Final = Traits(qkv=("attention_bias",))

# By `model_type`. A family that is not here is counted as Llama, and its figures are said to be an estimate.
TRAITS: Final[Mapping[str, Traits]] = {
    "llama": _LLAMA,
    "mistral": _PLAIN,
    "ministral": _PLAIN,
    "mixtral": _PLAIN,
    "granite": _LLAMA,
    "granitemoe": Traits(qkv=("attention_bias",), dense=("attention_bias",)),
    "smollm3": _LLAMA,
    "seed_oss": Traits(qkv=("attention_bias",), dense=("attention_out_bias",), mlp=("mlp_bias",)),
    "exaone4": Traits(qk="head"),
    "ernie4_5": Traits(qkv=("use_bias",), dense=("use_bias",), mlp=("use_bias",)),
    "hunyuan_v1_dense": Traits(qkv=("attention_bias",), dense=("attention_bias",), qk="head"),
    "qwen": Traits(qkv=True),
    "qwen2": Traits(qkv=True),
    "mimo": Traits(qkv=True),
    "qwen2_moe": Traits(qkv=True, shared_gate=True),
    "qwen3": _QWEN3,
    "qwen3_moe": _QWEN3,
    "qwen3_next": _QWEN_DELTA,
    "qwen3_5_text": _QWEN_DELTA,
    "qwen3_5_moe_text": _QWEN_DELTA,
    "qwen3_vl_text": _QWEN3,
    "qwen3_vl_moe_text": _QWEN3,
    "olmo": Traits(norms=0, qkv=("attention_bias",), dense=("attention_bias",)),
    "olmo2": Traits(qkv=("attention_bias",), dense=("attention_bias",), qk="all"),
    "olmo3": Traits(qkv=("attention_bias",), dense=("attention_bias",), qk="all"),
    "olmoe": Traits(qk="all"),
    "phi3": _PLAIN,
    "phi": Traits(True, True, True, norms=1, norm_bias=True, gated=False, head_bias=True),
    "stablelm": Traits(qkv=("use_qkv_bias",), norm_bias=True),
    "starcoder2": Traits(("use_bias",), ("use_bias",), ("use_bias",), norm_bias=True, gated=False, tied=True),
    "nemotron": Traits(("attention_bias",), ("attention_bias",), ("mlp_bias",), norm_bias=True, gated=False),
    "nemotron-nas": _PLAIN,
    "nemotron_h": Traits(norms=1, gated=False, router_bias=True),
    "gemma": Traits(qkv=("attention_bias",), dense=("attention_bias",), tied=True),
    "gemma2": _GEMMA,
    "gemma3_text": Traits(qkv=("attention_bias",), dense=("attention_bias",), norms=4, tied=True, qk="head"),
    "cohere": Traits(qkv=("attention_bias",), dense=("attention_bias",), norms=1, tied=True, qk="none"),
    "cohere2": Traits(qkv=("attention_bias",), dense=("attention_bias",), norms=1, tied=True),
    "glm": _GLM,
    "glm4": Traits(qkv=("attention_bias",), norms=4),
    "glm4_moe": Traits(qkv=("attention_bias",), qk=("use_qk_norm",), router_bias=True),
    "gpt_oss": Traits(qkv=True, dense=True, sinks=True, expert_bias=True),
    "minimax_m2": Traits(qk="all", router_bias=True),
    "deepseek_v2": Traits(),
    "deepseek_v3": Traits(router_bias=True),
    "kimi_k2": Traits(router_bias=True),
    "deepseek_v32": Traits(router_bias=True),
    "glm_moe_dsa": Traits(router_bias=True),
    "gpt2": Traits(True, True, True, norm_bias=True, gated=False, positions=0, tied=True),
    "gpt_bigcode": Traits(True, True, True, norm_bias=True, gated=False, positions=0, tied=True),
    "gpt_neox": _GPT,
    "opt": Traits(True, True, True, norm_bias=True, gated=False, positions=2, tied=True),
    "bloom": Traits(True, True, True, norm_bias=True, gated=False, tied=True, embedding_norm=True),
    "falcon": Traits(("bias",), ("bias",), ("bias",), norms=1, norm_bias=True, gated=False, tied=True),
    "gptj": Traits(False, False, True, norms=1, norm_bias=True, gated=False, head_bias=True),
    "mpt": Traits(gated=False, tied=True),
}


def traits_of(numbers: Numbers) -> Traits | None:
    """None for a family that is not known."""
    return TRAITS.get(numbers.model_type)
