"""A NeMo or Megatron-Bridge model configuration as the values of HuggingFace's `config.json`.

NeMo 1 (`model_config.yaml`), NeMo 2 (`config` in `model.yaml`) and Megatron-Bridge (`model` in `run_config.yaml`) name
most things alike; where they do not, both names are read. What a Llama-like family cannot express is rejected by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from build_scripts.weights.nemo.megatron import Heads
from triton_repo.contract.errors import BuildError

_LARGEST: Final = 1 << 31
# Key -> what it may be; null and absent are always allowed. Anything else changes what the model computes.
_FIXED: Final[Mapping[str, tuple[object, ...]]] = {
    "normalization": ("rmsnorm", "RMSNorm"),
    "position_embedding_type": ("rope",),
    "rotary_percentage": (1, 1.0),
    "rotary_percent": (1, 1.0),
    "rotary_interleaved": (False,),
    "transformer_block_type": ("pre_ln",),
    "normalize_attention_scores": (True,),
    "apply_residual_connection_post_layernorm": (False,),
    "layernorm_zero_centered_gamma": (False,),
    "apply_layernorm_1p": (False,),
    "apply_embedding_scaling": (False,),
    "headscale": (False,),
    "attention_type": ("multihead",),
    "multi_latent_attention": (False,),
    "heterogeneous_block_specs": (False,),
    "qk_l2_norm": (False,),
    "softmax_scale": (),
    "softmax_type": ("vanilla",),
    "num_moe_experts": (),
    "mtp_num_layers": (),
    "no_rope_freq": (),
    "mrope_section": (),
    "attention_chunk_size": (),
    "activation_func_clamp_value": (),
    "glu_linear_offset": (0, 0.0),
    "yarn_rotary_scaling_factor": (),
    "virtual_pipeline_model_parallel_size": (1,),
    "peft": (),
}
_GATED: Final = ("swiglu", "fast-swiglu")


@dataclass(frozen=True, slots=True)
class Traits:
    """Facts about the model that only its tensors show."""

    dtype: str
    qkv_bias: bool
    dense_bias: bool
    mlp_bias: bool
    qk_norm: bool
    has_output: bool


@dataclass(frozen=True, slots=True)
class MegatronConfig:
    """The values of the file `where`."""

    where: str
    values: Mapping[str, Any]

    def check(self) -> None:
        """Raises: BuildError: the model is not of one of the Llama-like families."""
        for key, allowed in _FIXED.items():
            value = self.values.get(key)
            if value is not None and value not in allowed:
                rule = f"allowed: {', '.join(map(str, allowed))}" if allowed else "allowed: nothing"
                raise self.error(key, f"{rule} (the families that are converted compute it this way)")
        activation = self.values.get("activation")
        if activation is not None and activation not in _GATED:
            raise self.error("activation", f"allowed: {', '.join(_GATED)}")
        function = _name(self.values.get("activation_func"))
        if activation is None and function != "silu":
            raise self.error("activation_func", "must be torch's silu, or activation = fast-swiglu")
        if activation is None and self.values.get("gated_linear_unit") is not True:
            raise self.error("gated_linear_unit", "must be true")

    @property
    def heads(self) -> Heads:
        total = self._count("num_attention_heads")
        groups = self._count("num_query_groups", total)
        if total % groups:
            raise self.error("num_query_groups", f"must divide num_attention_heads ({total})")
        hidden = self._count("hidden_size")
        if self.values.get("kv_channels") is None and hidden % total:
            raise self.error("hidden_size", f"must be divisible by num_attention_heads ({total})")
        return Heads(groups, total // groups, self._count("kv_channels", hidden // total))

    def tied(self, has_output: bool) -> bool:
        """Whether the embedding serves as output layer; by default, whether the model has no other."""
        return self._flag("share_embeddings_and_output_weights", not has_output)

    def vocab_size(self, tokenizer_size: int | None, rows: int) -> int:
        """Of the model as it was before its rows were padded; `rows` where no file has that number."""
        for key in ("vocab_size", "override_vocab_size"):
            if self.values.get(key) is not None:
                return self._count(key)
        return rows if tokenizer_size is None else tokenizer_size

    def to_huggingface(self, traits: Traits, vocab_size: int) -> dict[str, Any]:
        """The values of `config.json`."""
        heads = self.heads
        architecture, own = self._family(traits)
        return {
            "architectures": [architecture],
            "model_type": architecture.removesuffix("ForCausalLM").lower(),
            "hidden_size": self._count("hidden_size"),
            "intermediate_size": self._count("ffn_hidden_size"),
            "num_hidden_layers": self._count("num_layers"),
            "num_attention_heads": heads.groups * heads.queries,
            "num_key_value_heads": heads.groups,
            "head_dim": heads.size,
            "vocab_size": vocab_size,
            "max_position_embeddings": self._count(self._length_key()),
            "rms_norm_eps": self._number("layernorm_epsilon", 1e-5),
            "hidden_act": "silu",
            "rope_theta": self._number("rotary_base", 10000.0),
            "rope_scaling": self._rope_scaling(),
            "tie_word_embeddings": self.tied(traits.has_output),
            "torch_dtype": traits.dtype,
            **own,
        }

    def _length_key(self) -> str:
        """NeMo 1 writes `${.encoder_seq_length}` where the longest position is that."""
        if _is_count(self.values.get("max_position_embeddings")):
            return "max_position_embeddings"
        return "encoder_seq_length" if self.values.get("encoder_seq_length") is not None else "seq_length"

    def _family(self, traits: Traits) -> tuple[str, dict[str, Any]]:
        """The family with the biases, norms and window of these tensors."""
        window = self._window()
        target = str(self.values.get("_target_", ""))
        if traits.qk_norm and not (traits.qkv_bias or window):
            return "Qwen3ForCausalLM", {"attention_bias": traits.dense_bias, "use_sliding_window": False}
        if traits.qkv_bias and not (traits.dense_bias or traits.mlp_bias or window or traits.qk_norm):
            return "Qwen2ForCausalLM", {"use_sliding_window": False}
        if traits.qk_norm or traits.qkv_bias != traits.dense_bias or (window and traits.qkv_bias):
            raise BuildError(f"{self.where}: no family has this model's biases, norms and window")
        if window or (".mistral." in target and not traits.qkv_bias):
            return "MistralForCausalLM", {"sliding_window": window}
        return "LlamaForCausalLM", {"attention_bias": traits.qkv_bias, "mlp_bias": traits.mlp_bias}

    def _window(self) -> int | None:
        """`window_size` is [tokens back, tokens ahead]."""
        value = self.values.get("window_size")
        if value is None:
            return None
        if isinstance(value, list | tuple) and len(value) == 2 and value[1] == 0 and _is_count(value[0]):
            return int(value[0])
        raise self.error("window_size", "must be [tokens back, 0]")

    def _rope_scaling(self) -> dict[str, Any] | None:
        linear = self.values.get("seq_len_interpolation_factor")
        factor_key = "rope_scaling_factor" if self.values.get("rope_scaling") is True else "scale_factor"
        scaled = self.values.get("scale_positional_embedding") is True or self.values.get("rope_scaling") is True
        if not scaled and self.values.get("scale_factor") is None:
            factor = self._number("seq_len_interpolation_factor", 1.0)
            return None if linear is None else {"rope_type": "linear", "factor": factor}
        if linear is not None:
            raise self.error("seq_len_interpolation_factor", "must be null with Llama 3.1's scaling")
        return {
            "rope_type": "llama3",
            "factor": self._number(factor_key, 8.0),
            "low_freq_factor": self._number("low_freq_factor", 1.0),
            "high_freq_factor": self._number("high_freq_factor", 4.0),
            "original_max_position_embeddings": self._count("old_context_len", 8192),
        }

    def error(self, key: str, rule: str) -> BuildError:
        return BuildError(f"{self.where}: {key} = {self.values.get(key)!r:.80}; {rule}")

    def _count(self, key: str, default: int | None = None) -> int:
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not _is_count(value):
            raise self.error(key, "must be a whole number ≥ 1")
        return value

    def _number(self, key: str, default: float | None = None) -> float:
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        try:  # YAML 1.1 reads 1e-5 as text
            number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
        except (ValueError, OverflowError):
            number = 0.0
        if not 0 < number < float("inf"):
            raise self.error(key, "must be a number > 0")
        return number

    def _flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return default if value is None else value


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < _LARGEST


def _name(value: Any) -> str | None:
    """`silu` of {_target_: torch.nn.functional.silu, _call_: false}."""
    target = value.get("_target_") if isinstance(value, Mapping) else value
    return target.rpartition(".")[2] if isinstance(target, str) else None
