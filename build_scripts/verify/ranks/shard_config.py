"""`config.json` of a TensorRT-LLM checkpoint: what its class of TensorRT-LLM makes of the keys.

Written from those classes and not from what writes the file, which it is to check (NVIDIA/TensorRT-LLM, tensorrt_llm/:
models/{llama,qwen,gemma,phi3,gpt}/{config,model}.py, layers/{attention,mlp,moe}.py, models/modeling_utils.py).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from triton_repo.contract.sampling import Count

Class = Literal["llama", "qwen", "gemma", "phi3", "gpt"]
_CLASSES: Final[dict[str, Class]] = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "MixtralForCausalLM": "llama",
    "GraniteForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen",
    "Qwen2MoeForCausalLM": "qwen",
    "Qwen3ForCausalLM": "qwen",
    "Qwen3MoeForCausalLM": "qwen",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma",
    "Gemma3ForCausalLM": "gemma",
    "Phi3ForCausalLM": "phi3",
    "NemotronForCausalLM": "gpt",
}
Activation = Literal["silu", "gelu", "relu2"]
_GELU, _RELU2 = "gelu_pytorch_tanh", "squared-relu"
_ACTIVATIONS: Final[dict[str, Activation]] = {"silu": "silu", "swiglu": "silu", _GELU: "gelu", _RELU2: "relu2"}
Factor = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True)


class MappingConfig(_Section):
    """`mapping`; ranks are numbered with the tensor-parallel ranks of a stage together. -1 is no mixture."""

    world_size: Count
    tp_size: Count
    pp_size: Count
    moe_tp_size: int = -1
    moe_ep_size: int = -1

    @property
    def ep_size(self) -> int:
        return max(1, self.moe_ep_size)


class Quantization(_Section):
    """`quantization`: there must be none."""

    quant_algo: None = None


class RotaryScaling(_Section):
    """`rotary_scaling`; what is absent is what TensorRT-LLM then takes."""

    rope_type: Literal["linear", "dynamic", "llama3"] = Field(validation_alias=AliasChoices("rope_type", "type"))
    factor: Factor
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: Count = 8192


class Moe(_Section):
    """`moe`. `normalization_mode` 1 makes the weights of the chosen experts sum to 1, 0 leaves them."""

    num_experts: Count
    top_k: Count
    normalization_mode: Literal[0, 1] = 1
    shared_expert_intermediate_size: int = 0


class ShardConfig(_Section):
    """The keys that decide what is computed; what is absent is what the class then takes."""

    architecture: str
    dtype: Literal["float32", "float16", "bfloat16"]
    vocab_size: Count
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    head_size: Count
    intermediate_size: Count
    max_position_embeddings: Count
    hidden_act: Literal["silu", "swiglu", "gelu_pytorch_tanh", "squared-relu"]
    norm_epsilon: float
    position_embedding_type: Literal["rope_gpt_neox", "long_rope"]
    rotary_base: float
    rotary_scaling: RotaryScaling | None = None
    rotary_pct: Annotated[float, Field(gt=0, le=1)] = 1.0
    attn_bias: bool = False
    mlp_bias: bool = False
    bias: bool = False
    qk_layernorm: bool = False
    use_parallel_embedding: bool = False
    mapping: MappingConfig
    quantization: Quantization = Quantization()
    moe: Moe | None = None
    moe_intermediate_size: int = 0
    embedding_multiplier: Factor = 1.0
    attention_multiplier: Factor = 1.0
    residual_multiplier: Factor = 1.0
    output_multiplier_scale: Factor = 1.0
    q_scaling: Factor = 1.0
    query_pre_attn_scalar: Factor | None = None
    attn_logit_softcapping: Factor | None = None
    final_logit_softcapping: Factor | None = None
    sliding_window_pattern: Count | None = Field(None, alias="_sliding_window_pattern")
    rope_local_base_freq: Factor | None = None
    original_max_position_embeddings: Count | None = None
    longrope_scaling_short_factors: tuple[Factor, ...] | None = None
    longrope_scaling_long_factors: tuple[Factor, ...] | None = None

    @model_validator(mode="after")
    def _is_of_a_class(self) -> ShardConfig:
        if self.architecture not in _CLASSES:
            raise ValueError(f"architecture = {self.architecture}; allowed: {', '.join(_CLASSES)}")
        if self.kind == "gemma" and self.sandwich and self.query_pre_attn_scalar is None:
            raise ValueError("query_pre_attn_scalar is missing")
        needed = (self.original_max_position_embeddings, self.longrope_scaling_short_factors)
        if self.position_embedding_type == "long_rope" and None in needed:
            raise ValueError(
                "position_embedding_type = long_rope needs its factors and original_max_position_embeddings"
            )
        return self

    @property
    def kind(self) -> Class:
        return _CLASSES[self.architecture]

    @property
    def activation(self) -> Activation:
        return _ACTIVATIONS[self.hidden_act]

    @property
    def block(self) -> Literal["gated", "gated in one", "plain", "mixture"]:
        """`fc` and `gate`; `fc` with the linear projection above the one that is activated; `fc` alone; experts."""
        if self.moe is not None:
            return "mixture"
        return {"phi3": "gated in one", "gpt": "plain"}.get(self.kind, "gated")  # type: ignore[return-value]

    @property
    def sandwich(self) -> bool:
        return self.architecture in {"Gemma2ForCausalLM", "Gemma3ForCausalLM"}

    @property
    def norms(self) -> tuple[str, ...]:
        """Of the hidden states of a layer."""
        around = ("pre_feedforward_layernorm", "post_feedforward_layernorm") if self.sandwich else ()
        return ("input_layernorm", "post_layernorm", *around)

    @property
    def qkv_bias(self) -> bool:
        return self.bias if self.kind == "gpt" else self.attn_bias

    @property
    def dense_bias(self) -> bool:
        """Qwen's never has one."""
        return self.qkv_bias and self.kind != "qwen"

    @property
    def block_bias(self) -> bool:
        return self.bias if self.kind == "gpt" else self.mlp_bias

    @property
    def score_scale(self) -> float:
        """Of q · k."""
        scale = self.attention_multiplier / self.q_scaling / math.sqrt(self.head_size)
        return scale if self.query_pre_attn_scalar is None else self.query_pre_attn_scalar**-0.5

    @property
    def score_cap(self) -> float | None:
        return self.attn_logit_softcapping if self.architecture == "Gemma2ForCausalLM" else None

    @property
    def embedding_scale(self) -> float:
        return math.sqrt(self.hidden_size) if self.kind == "gemma" else self.embedding_multiplier

    @property
    def logits_cap(self) -> float | None:
        return self.final_logit_softcapping if self.architecture == "Gemma2ForCausalLM" else None

    def rotary_base_of(self, layer: int) -> float:
        """Layers with a window may have one of their own."""
        local, every = self.rope_local_base_freq, self.sliding_window_pattern or 1
        return local if local is not None and (layer + 1) % every else self.rotary_base

    @property
    def rotary_size(self) -> int:
        """Values of a head that are turned."""
        return int(self.head_size * self.rotary_pct)

    @property
    def q_size(self) -> int:
        """Rows of q on one rank."""
        return self.num_attention_heads // self.mapping.tp_size * self.head_size

    @property
    def kv_size(self) -> int:
        """Rows of k, and of v, on one rank: at least one head."""
        return max(1, self.num_key_value_heads // self.mapping.tp_size) * self.head_size

    @property
    def inner_size(self) -> int:
        """Rows of an up projection on one rank: of the block, or of the part of an expert."""
        if self.moe is None:
            return self.intermediate_size // self.mapping.tp_size
        size = self.moe_intermediate_size if self.kind == "qwen" else self.intermediate_size
        return size * self.mapping.ep_size // self.mapping.tp_size

    @property
    def shared_size(self) -> int:
        """Of the shared expert, on one rank."""
        return self.moe.shared_expert_intermediate_size // self.mapping.tp_size if self.moe else 0

    def experts_of(self, tp_rank: int) -> range:
        share = (self.moe.num_experts if self.moe else 0) // self.mapping.ep_size
        first = tp_rank % self.mapping.ep_size * share
        return range(first, first + share)

    def expert_rows_of(self, tp_rank: int) -> slice:
        """The rows of an expert's projections that a rank has."""
        first = tp_rank // self.mapping.ep_size * self.inner_size
        return slice(first, first + self.inner_size)

    @property
    def vocabulary_rows(self) -> int:
        """Rows of a share of the vocabulary, with its padding."""
        return -(-self.vocab_size // self.mapping.tp_size)

    def stages(self) -> list[range]:
        """The layers of each pipeline stage."""
        share, rest = divmod(self.num_hidden_layers, self.mapping.pp_size)
        ends = [share * stage + min(stage, rest) for stage in range(self.mapping.pp_size + 1)]
        return [range(first, end) for first, end in pairwise(ends)]

    def stage_of(self, layer: int) -> int:
        return next(number for number, layers in enumerate(self.stages()) if layer in layers)
